//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Arg;
use clap::ArgAction;
use clap::ArgMatches;

use crate::duration;

/// Enough for a handshake across an ocean and a slow health check, and short enough to wait for.
const TIMEOUT: &str = "5s";

const EXAMPLES: &str = "\
Examples:
  evenkeel watch dns:///orders.internal:50051
  evenkeel watch --json file:///etc/orders.json | jq .endpoints
  evenkeel check static:///10.0.0.1:50051,10.0.0.2:50051
  evenkeel check orders.internal:50051 --health orders.v1.Orders --tls

Exit codes:
  0    all is well, or a watch was ended
  1    some endpoint is not well, or there is none
  2    the command or the target makes no sense or cannot be resolved
  130  a check was interrupted";

const WATCH_HELP: &str = "\
On a terminal a table is drawn anew at each change; else each change is a
line: + added, - removed, ~ changed, ! could not resolve. Runs until
interrupted.

Examples:
  evenkeel watch dns:///orders.internal:50051
  evenkeel watch --json file:orders.json | jq -c '[.time, .added, .removed]'";

const CHECK_HELP: &str = "\
Examples:
  evenkeel check static:///10.0.0.1:50051,10.0.0.2:50051
  evenkeel check dns:///orders:443 --tls --health orders.v1.Orders --timeout 2s
  evenkeel check 10.0.0.1:443 --ca ca.pem --server-name orders.internal
  evenkeel check unix:/run/orders.sock --no-health && echo listening";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Watch(WatchArgs),
    Check(CheckArgs),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WatchArgs {
    pub(crate) target: String,
    pub(crate) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CheckArgs {
    pub(crate) target: String,
    pub(crate) json: bool,
    /// The service to ask the health of; `None` only connects.
    pub(crate) health: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<TlsArgs>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsArgs {
    pub(crate) ca: Option<PathBuf>,
    /// Certificate chain and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name: Option<String>,
}

/// What the arguments ask for. Help and version are errors too, as clap has it.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let matches = command().try_get_matches_from(args)?;
    Ok(match matches.subcommand() {
        Some(("watch", matches)) => Command::Watch(WatchArgs { target: target(matches), json: matches.get_flag("json") }),
        Some((_, matches)) => Command::Check(CheckArgs {
            target: target(matches),
            json: matches.get_flag("json"),
            health: (!matches.get_flag("no-health")).then(|| text(matches, "health").unwrap_or_default()),
            timeout: matches.get_one::<Duration>("timeout").copied().expect("it has a default"),
            tls: tls(matches),
        }),
        None => unreachable_subcommand()?,
    })
}

/// clap requires a subcommand; should it ever not, that is an error like any other.
fn unreachable_subcommand() -> Result<Command, clap::Error> {
    Err(clap::Error::raw(clap::error::ErrorKind::MissingSubcommand, "watch or check?\n"))
}

fn target(matches: &ArgMatches) -> String {
    text(matches, "target").expect("it is required")
}

fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}

fn tls(matches: &ArgMatches) -> Option<TlsArgs> {
    let path = |name| matches.get_one::<PathBuf>(name).cloned();
    let tls = TlsArgs { ca: path("ca"), identity: path("cert").zip(path("key")), server_name: text(matches, "server-name") };
    (matches.get_flag("tls") || tls != TlsArgs::default()).then_some(tls)
}

fn command() -> clap::Command {
    clap::Command::new("evenkeel")
        .about("Shows what a gRPC target resolves to, and checks its endpoints")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(EXAMPLES)
        .subcommand(
            clap::Command::new("watch")
                .about("Shows the endpoints of a target as they change")
                .after_help(WATCH_HELP)
                .args([target_arg(), flag("json", "Prints each change as one JSON object on a line")]),
        )
        .subcommand(check_command())
}

fn check_command() -> clap::Command {
    clap::Command::new("check")
        .about("Connects to each endpoint of a target and asks whether it serves")
        .after_help(CHECK_HELP)
        .args([target_arg(), flag("json", "Prints each result as one JSON object on a line")])
        .arg(option("health", "SERVICE", "The service to ask for [default: the whole server]"))
        .arg(flag("no-health", "Only connects").conflicts_with("health"))
        .arg(
            option("timeout", "DURATION", "For resolving, then for each endpoint")
                .default_value(TIMEOUT)
                .value_parser(duration::parse),
        )
        .arg(flag("tls", "Speaks TLS; implied by the options below"))
        .arg(option("ca", "FILE", "Trusts these authorities (PEM), not the system's").value_parser(clap::value_parser!(PathBuf)))
        .arg(
            option("cert", "FILE", "Shows this certificate chain (PEM)").value_parser(clap::value_parser!(PathBuf)).requires("key"),
        )
        .arg(option("key", "FILE", "The key of --cert (PEM)").value_parser(clap::value_parser!(PathBuf)).requires("cert"))
        .arg(option("server-name", "NAME", "The name to verify instead of the target's"))
}

fn target_arg() -> Arg {
    Arg::new("target")
        .value_name("TARGET")
        .help("Such as dns:///orders:50051, static:///a:1,b:2 or file:orders.json")
        .required(true)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn check(line: &str) -> CheckArgs {
        match parsed(line) {
            Ok(Command::Check(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn check_has_defaults_and_any_tls_option_means_tls() {
        let plain = check("evenkeel check a:1");
        assert_eq!((plain.health.as_deref(), plain.timeout, &plain.tls), (Some(""), Duration::from_secs(5), &None));
        assert_eq!(check("evenkeel check a:1 --no-health").health, None);
        assert_eq!(check("evenkeel check a:1 --tls").tls, Some(TlsArgs::default()));
        assert_eq!(check("evenkeel check a:1 --ca x").tls.unwrap().ca, Some("x".into()));
        assert_eq!(check("evenkeel check a:1 --cert x --key y").tls.unwrap().identity, Some(("x".into(), "y".into())));
        assert_eq!(check("evenkeel check a:1 --timeout 1m30s").timeout, Duration::from_secs(90));
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "evenkeel",
            "evenkeel watch",
            "evenkeel call a:1",
            "evenkeel watch a:1 b:1",
            "evenkeel check a:1 --timeout soon",
            "evenkeel check a:1 --timeout 0s",
            "evenkeel check a:1 --cert x",
            "evenkeel check a:1 --health x --no-health",
            "evenkeel watch a:1 --tls",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parsed("evenkeel --help").unwrap_err().exit_code(), 0);
    }
}
