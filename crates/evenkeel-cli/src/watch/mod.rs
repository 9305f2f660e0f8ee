//! `evenkeel watch`: the endpoints as they change.

mod known;
mod lines;
mod objects;
mod screen;

use std::time::SystemTime;

use evenkeel::ResolveError;
use evenkeel::ResolverUpdate;
use futures_util::StreamExt;

use crate::args::WatchArgs;
use crate::exit::Exit;
use crate::out;
use crate::seek;
use crate::signals;
use known::Known;
use screen::Screen;

/// How what happens is shown.
enum View {
    Objects,
    Lines,
    Screen(Screen),
}

/// Watches until it is told to end or nobody reads any more.
pub(crate) async fn run(args: &WatchArgs) -> Exit {
    watch(args).await.unwrap_or_else(|exit| exit)
}

async fn watch(args: &WatchArgs) -> Result<Exit, Exit> {
    let mut seek = seek::start(&args.target)?;
    let mut view = match args.json {
        true => View::Objects,
        false if out::is_terminal() => View::Screen(Screen::new(seek.target.canonical())),
        false => View::Lines,
    };
    let mut known = Known::default();
    let mut resized = signals::Resized::new();
    let mut end = std::pin::pin!(signals::asked_to_end());
    out::print(&view.begin(&known))?;
    loop {
        tokio::select! {
            // In this order, so that a set that changes all the time cannot outshout Ctrl-C.
            biased;
            ended = &mut end => return ended.map(|()| Exit::Good).map_err(|error| Exit::Failed(format!("no signals: {error}"))),
            answer = seek.stream.next() => match answer {
                Some(answer) => out::print(&view.show(&mut known, answer))?,
                // Nothing will change any more: wait to be told to end.
                None => seek.stream = futures_util::stream::pending().boxed(),
            },
            () = resized.next() => out::print(&view.resized(&known))?,
        }
    }
}

impl View {
    /// What is shown while nothing is known.
    fn begin(&mut self, known: &Known) -> String {
        match self {
            Self::Screen(screen) => screen.draw(known, out::size()),
            Self::Objects | Self::Lines => String::new(),
        }
    }

    fn show(&mut self, known: &mut Known, answer: Result<ResolverUpdate, ResolveError>) -> String {
        let now = SystemTime::now();
        known.take(answer, now);
        match self {
            Self::Objects => objects::object(known, now),
            Self::Lines => lines::lines(known, now),
            Self::Screen(screen) => screen.draw(known, out::size()),
        }
    }

    fn resized(&mut self, known: &Known) -> String {
        match self {
            Self::Screen(screen) => screen.draw_anew(known, out::size()),
            Self::Objects | Self::Lines => String::new(),
        }
    }
}
