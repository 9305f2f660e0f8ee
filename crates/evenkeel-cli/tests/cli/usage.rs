//! What people get wrong.

use crate::support::run;

#[tokio::test]
async fn a_command_that_makes_no_sense_is_code_2_and_says_so_on_standard_error() {
    for (args, said) in [
        (&[][..], "Usage: evenkeel"),
        (&["call", "a:1"], "unrecognized subcommand 'call'"),
        (&["watch"], "<TARGET>"),
        (&["check", "a:1", "--timeout", "soon"], "allowed is 1ms to 24h"),
        (&["check", "a:1", "--cert", "x"], "--key"),
    ] {
        let ended = run(args).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{args:?}");
        assert!(ended.err.contains(said), "{args:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn a_target_that_makes_no_sense_is_code_2() {
    for command in ["watch", "check"] {
        for (target, said) in [
            ("", "it is empty"),
            ("static:", "address 1 of the list is empty"),
            ("ipv4:orders", "no IPv4 address"),
            ("file:///etc/orders.txt", ".json, .yaml or .yml"),
            ("static://a:1/b:1", "takes no authority"),
        ] {
            let ended = run(&[command, target]).await;
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{command} {target}");
            assert!(ended.err.starts_with("evenkeel: ") && ended.err.contains(said), "{command} {target}: {}", ended.err);
        }
    }
}

#[tokio::test]
async fn help_goes_to_standard_output_with_examples() {
    for args in [&["--help"][..], &["watch", "--help"], &["check", "--help"]] {
        let ended = run(args).await;
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        assert!(ended.out.contains("Examples:") && ended.out.contains("  evenkeel "), "{}", ended.out);
        assert!(ended.out.lines().all(|line| line.chars().count() <= 80), "{}", ended.out);
    }
    assert!(run(&["--version"]).await.out.starts_with("evenkeel 0."));
}
