//! One open watch.

use crate::failure::Cause;
use crate::failure::Failure;
use crate::rpc::Answers;
use crate::rpc::Rpc;
use crate::target::Range;
use crate::wire::ResponseHeader;
use crate::wire::WatchResponse;

/// Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    rpc: Rpc,
    answers: Answers<WatchResponse>,
}

impl Watch {
    /// Opens a watch for every change after `revision` and waits until it stands. The header tells how far the member is, which may be
    /// behind `revision`: a watch from the future is no error to etcd.
    pub(crate) async fn open(rpc: &Rpc, range: &Range, revision: i64) -> Result<(Self, ResponseHeader), Failure> {
        let mut answers = rpc.watch(range, revision.saturating_add(1)).await?;
        let first = rpc.bounded("watch", answers.next()).await?;
        let first = checked(first).map_err(|failure| failure.at(rpc.member()))?;
        if !first.created {
            return Err(Failure::new(Cause::Malformed, "watch: the first answer does not say that it is made").at(rpc.member()));
        }
        Ok((Self { rpc: rpc.clone(), answers }, first.header.unwrap_or_default()))
    }

    /// The connection it runs on.
    pub(crate) fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The next answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Failure> {
        let answer = self.answers.next().await.map_err(|status| self.rpc.failure("watch", &status))?;
        checked(answer).map_err(|failure| failure.at(self.rpc.member()))
    }
}

fn checked(answer: WatchResponse) -> Result<WatchResponse, Failure> {
    if answer.compact_revision != 0 {
        let message = format!("watch: everything before revision {} is forgotten", answer.compact_revision);
        return Err(Failure::new(Cause::Compacted, message));
    }
    if answer.canceled { Err(Failure::cancelled(&answer.cancel_reason)) } else { Ok(answer) }
}
