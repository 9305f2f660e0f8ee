use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use lb_core::Locality;
use serde_json::json;

use super::*;
use crate::cached::tests::Place;
use crate::testing::*;

const NOW: Duration = Duration::from_secs(1_790_000_000);

fn at(offset: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW.as_secs().checked_add_signed(offset).unwrap())
}

fn file(place: &Place) -> CacheFile {
    CacheFile { path: place.path(), target: "a:///orders".to_owned(), max_age: Duration::from_secs(3600) }
}

fn rich() -> ResolverUpdate {
    let mut all = endpoints(&["10.0.0.1:1", "[::1]:2", "orders.internal:3", "unix:/run/a b.sock"]);
    let attributes = &mut all[0].attributes;
    attributes.weight = 7;
    attributes.locality = Locality::new("eu", "eu-b", "r1");
    attributes.capabilities = ["gpu".into()].into();
    attributes.cost = Some(0.1);
    attributes.id = Some("ö\n\"".into());
    attributes.metadata = BTreeMap::from([("k".into(), "v".into())]);
    ResolverUpdate::new(all).with_service_config(ServiceConfigUpdate::Json(json!({ "loadBalancingConfig": [{ "random": {} }] })))
}

fn refused(place: &Place) -> String {
    file(place).read(at(0)).unwrap_err()
}

#[test]
fn what_is_written_is_read_with_its_age() {
    let place = Place::new();
    assert_eq!(file(&place).read(at(0)), Ok(None));
    file(&place).write(&rich(), at(-90)).unwrap();
    let loaded = file(&place).read(at(0)).unwrap().unwrap();
    assert_eq!(loaded, Loaded { update: rich(), age: Duration::from_secs(90) });
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(place.names(), ["cache"], "nothing temporary is left");
}

#[test]
fn any_byte_changed_and_any_cut_is_noticed() {
    let place = Place::new();
    file(&place).write(&ResolverUpdate::new(endpoints(&["10.0.0.1:1"])), at(0)).unwrap();
    let good = fs::read(place.path()).unwrap();
    for length in 0..good.len() {
        fs::write(place.path(), &good[..length]).unwrap();
        file(&place).read(at(0)).expect_err("cut");
    }
    let body = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for changed in body..good.len() {
        let mut bad = good.clone();
        bad[changed] ^= 1;
        fs::write(place.path(), &bad).unwrap();
        file(&place).read(at(0)).expect_err("changed");
    }
}

#[test]
fn foreign_files_are_refused_with_a_reason() {
    let place = Place::new();
    file(&place).write(&rich(), at(0)).unwrap();
    let good = fs::read_to_string(place.path()).unwrap();
    for (from, to, reason) in [
        ("\"version\":1", "\"version\":2,\"more\":[]", "version 2; allowed is \"evenkeel endpoints\" version 1"),
        ("evenkeel endpoints", "somebody's", "somebody's"),
        ("a:///orders", "a:///other", "of the target \"a:///other\""),
        ("{\"format\"", "{\"more\":1,\"format\"", "none of ours"),
        ("{\"format\"", "[\"format\"", "none of ours"),
    ] {
        fs::write(place.path(), good.replacen(from, to, 1)).unwrap();
        assert!(refused(&place).contains(reason), "{}", refused(&place));
    }
    fs::write(place.path(), [0xff, 0xfe, b'\n', b'\n']).unwrap();
    assert!(refused(&place).contains("UTF-8"), "{}", refused(&place));
    fs::write(place.path(), "[".repeat(200_000) + "\n\n").unwrap();
    assert!(refused(&place).contains("none of ours"));
}

#[test]
fn a_body_of_another_shape_is_refused_even_with_the_right_checksum() {
    let place = Place::new();
    for (body, reason) in [
        ("{\"endpoints\":[{\"addresses\":[\"nowhere\"],\"attributes\":{}}]}", "port is missing"),
        ("{\"endpoints\":[{\"addresses\":[],\"attributes\":{}}]}", "at least one address"),
        ("{\"endpoints\":[],\"more\":1}", "unknown field"),
        ("{\"endpoints\":[]}", "no endpoints"),
    ] {
        let (length, checksum) = (body.len(), checksum(body));
        let head = json!({ "format": FORMAT, "version": 1, "target": "a:///orders", "savedAt": NOW.as_secs(), "length": length, "checksum": checksum });
        fs::write(place.path(), format!("{head}\n{body}\n")).unwrap();
        assert!(refused(&place).contains(reason), "{}", refused(&place));
    }
}

#[test]
fn too_old_and_from_the_future_are_refused() {
    let place = Place::new();
    file(&place).write(&rich(), at(0)).unwrap();
    assert_eq!(file(&place).read(at(3600)).unwrap().unwrap().age, Duration::from_secs(3600));
    assert!(file(&place).read(at(3601)).unwrap_err().contains("allowed is 3600s"));
    assert_eq!(file(&place).read(at(-300)).unwrap().unwrap().age, Duration::ZERO, "clocks differ a little");
    assert!(file(&place).read(at(-301)).unwrap_err().contains("backwards"));
    assert!(file(&place).read(UNIX_EPOCH - Duration::from_secs(1)).unwrap_err().contains("backwards"));
}

#[test]
fn what_others_may_write_and_what_is_no_file_is_refused() {
    let place = Place::new();
    file(&place).write(&rich(), at(0)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o620)).unwrap();
    assert!(refused(&place).contains("mode 620"), "{}", refused(&place));
    fs::remove_file(place.path()).unwrap();
    fs::create_dir(place.path()).unwrap();
    assert!(refused(&place).contains("no regular file"));
    file(&place).write(&rich(), at(0)).expect_err("a directory is in the way");
    assert_eq!(place.names(), ["cache"], "nothing temporary is left");
}

#[test]
fn a_missing_directory_and_an_impossible_path_are_errors() {
    let place = Place::new();
    for path in [place.path().join("missing/cache"), PathBuf::from("/")] {
        CacheFile { path, ..file(&place) }.write(&rich(), at(0)).unwrap_err();
    }
}

#[test]
fn of_many_writers_at_once_one_wins_whole() {
    let place = Place::new();
    std::thread::scope(|scope| {
        for writer in 1_u16..5 {
            let place = &place;
            scope.spawn(move || {
                let set: Vec<_> = (0..200 * writer).map(|port| endpoint(&format!("10.0.0.{writer}:{port}"))).collect();
                for _ in 0..20 {
                    file(place).write(&ResolverUpdate::new(set.clone()), at(0)).unwrap();
                    let read = file(place).read(at(0)).unwrap().unwrap().update.endpoints;
                    assert_eq!(read.len() % 200, 0);
                    assert!(read.iter().all(|one| one.key().as_str()[..9] == read[0].key().as_str()[..9]), "of one writer");
                }
            });
        }
    });
    assert_eq!(place.names(), ["cache"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_without_text_is_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let odd = Endpoint::new(Address::Unix(std::ffi::OsStr::from_bytes(b"/run/\xff").into()));
    file(&place).write(&ResolverUpdate::new(vec![odd, endpoint("10.0.0.1:1")]), at(0)).unwrap();
    assert_eq!(file(&place).read(at(0)).unwrap().unwrap().update.endpoints, endpoints(&["10.0.0.1:1"]));
}
