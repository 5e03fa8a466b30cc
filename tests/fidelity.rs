//! What copies keep of their sources: each line of the table in docs/moving.md, on each way that a version
//! can take, and what a plan says of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use common::{BUCKET, World, wait_until};
use s3sweep::job::{self, Job};
use s3sweep::model::{CopySettings, Key, Kind, Version};
use s3sweep::report::{How, Way, fidelity_by};
use s3sweep::sandbox::{Config, Details, Operation, RetentionMode, Seed, SeedItem};

const MIDDLE: &str = "middle";
const DESTINATION: &str = "destination";
const MIB: u64 = 1 << 20;
const WAYS: [Way; 3] = [Way::OneCall, Way::Parts, Way::Stream];
/// A customer's key: 32 bytes in Base64.
const CUSTOMER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// The lines of the table that have a test, each with its test.
macro_rules! lines {
    ($($what:literal => $name:ident,)*) => {
        const TESTED: &[&str] = &[$($what),*];
        $(#[test] fn $name() { observed::$name($what); })*
    };
}

lines! {
    "body" => body,
    "size" => size,
    "order of versions" => order_of_versions,
    "delete markers" => delete_markers,
    "user metadata" => user_metadata,
    "content headers" => content_headers,
    "tags" => tags,
    "storage class" => storage_class,
    "access control list" => access_control_list,
    "website redirect" => website_redirect,
    "encryption" => encryption,
    "retention" => retention,
    "legal hold" => legal_hold,
    "checksum" => checksum,
    "ETag of one part" => etag_of_one_part,
    "ETag of several parts" => etag_of_several_parts,
    "version id" => version_id,
    "time of creation" => time_of_creation,
    "owner" => owner,
    "replication status" => replication_status,
}

/// An entry at the source and what stands in its place at the destination.
struct Pair {
    source: Version,
    from: Option<Details>,
    copy: Version,
    to: Option<Details>,
}

impl Pair {
    fn from(&self) -> &Details {
        self.from.as_ref().expect("a version")
    }

    fn to(&self) -> &Details {
        self.to.as_ref().expect("a version")
    }
}

/// What a copy brought about: the entries of each key, newest first.
struct Carried {
    keys: BTreeMap<Key, Vec<Pair>>,
    settings: CopySettings,
}

impl Carried {
    fn key(&self, key: &str) -> &[Pair] {
        &self.keys[&Key::from(key)]
    }

    /// The version that has everything.
    fn rich(&self) -> &Pair {
        &self.key("rich")[0]
    }

    fn all(&self) -> impl Iterator<Item = &Pair> {
        self.keys.values().flatten()
    }
}

/// Every version is large enough for parts.
fn source() -> Seed {
    let item = |key: &str, size_bytes| SeedItem {
        key: key.into(),
        size_bytes,
        age_secs: 900.0,
        ..SeedItem::default()
    };
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let rich = SeedItem {
        storage_class: Some("STANDARD_IA".into()),
        headers: map(&[
            ("content-type", "text/plain"),
            ("cache-control", "no-store"),
            ("content-disposition", "inline"),
            ("content-encoding", "gzip"),
            ("content-language", "de"),
            ("expires", "Thu, 01 Jan 2037 00:00:00 GMT"),
            ("x-amz-meta-who", "me"),
            ("x-amz-meta-why", "because"),
        ]),
        tags: map(&[("team", "a b"), ("cost/centre", "7+8")]),
        redirect: Some("/elsewhere".into()),
        acl: Some("public-read".into()),
        legal_hold: true,
        retention: Some(RetentionMode::Governance),
        retained_secs: 30.0 * 86_400.0,
        ..item("rich", 5 * MIB + 3)
    };
    let parts = SeedItem { part_bytes: 5 * MIB, ..item("parts", 6 * MIB) };
    let same = SeedItem { data_seed: Some(1), ..item("history", 5 * MIB + 1) };
    let marker = SeedItem { delete_marker: true, ..item("history", 0) };
    let items = vec![rich, parts, same.clone(), same, marker, item("history", 5 * MIB + 2)];
    Seed { bucket: BUCKET.into(), object_lock: true, real_etags: true, keys: 0, items, ..Seed::default() }
}

fn world() -> World {
    let empty = |bucket: &str| Seed { bucket: bucket.into(), keys: 0, object_lock: true, ..Seed::default() };
    let seeds = vec![source(), empty(MIDDLE), empty(DESTINATION)];
    let mut world = World::with(Config { seeds, ..Config::default() });
    world.env.insert("CUSTOMER_KEY".into(), CUSTOMER_KEY.into());
    world
}

fn route(way: Way) -> &'static str {
    match way {
        Way::OneCall => "route: server",
        Way::Parts => "route: server, multipart_above: 5MiB",
        Way::Stream => "route: stream",
    }
}

fn rules(to: &str, settings: &[&str]) -> String {
    let settings: String =
        settings.iter().filter(|text| !text.is_empty()).map(|text| format!(", {text}")).collect();
    format!(
        "confirm: false\nrules:\n- {{ name: all, match: {{ state: any }}, action: {{ copy: {{ bucket: {to}{settings} }} }} }}\n"
    )
}

fn settings_of(job: &Job) -> CopySettings {
    job.actions[0].transfer().unwrap().settings.clone()
}

fn entries(world: &World, bucket: &str) -> BTreeMap<Key, Vec<(Version, Option<Details>)>> {
    let store = world.sandbox.store();
    let mut by_key: BTreeMap<Key, Vec<_>> = BTreeMap::new();
    for version in store.versions(bucket).unwrap() {
        let details = store.details(bucket, version.key.clone(), &version.id);
        by_key.entry(version.key.clone()).or_default().push((version, details));
    }
    by_key
}

/// Copies everything on a way with settings; where `first` is given, from a bucket that was filled with
/// these before.
fn carry(way: Way, first: Option<&str>, settings: &str) -> Carried {
    let world = world();
    if let Some(first) = first {
        world.run(&world.job(&rules(MIDDLE, &[first]))).expect(0);
        let_a_second_pass(&world, MIDDLE);
    }
    let from = if first.is_some() { MIDDLE } else { BUCKET };
    let text = rules(DESTINATION, &[route(way), settings]);
    let path = world.job_on(from, &world.sandbox.endpoint(), &text);
    let before =
        [Operation::CopyObject, Operation::UploadPartCopy, Operation::GetObject].map(|op| world.requests(op));
    world.run(&path).expect(0);
    let after =
        [Operation::CopyObject, Operation::UploadPartCopy, Operation::GetObject].map(|op| world.requests(op));
    let grew: Vec<bool> = before.iter().zip(after).map(|(before, after)| after > *before).collect();
    let is_etag_kept = settings.contains("etag");
    match way {
        Way::OneCall => assert!(grew[0], "{settings}"),
        Way::Parts => assert!(grew[1] && (is_etag_kept || !grew[0]), "{settings}: {grew:?}"),
        Way::Stream => assert!(grew[2] && !grew[0] && !grew[1], "{settings}: {grew:?}"),
    }
    let job = job::load(&std::fs::read_to_string(&path).unwrap(), "job.yaml", &|_| None).unwrap();
    let mut copies = entries(&world, DESTINATION);
    let keys = entries(&world, from)
        .into_iter()
        .map(|(key, sources)| {
            let copies = copies.remove(&key).unwrap();
            assert_eq!(copies.len(), sources.len(), "{key}");
            let pair = |((source, from), (copy, to))| Pair { source, from, copy, to };
            (key, sources.into_iter().zip(copies).map(pair).collect())
        })
        .collect();
    assert!(copies.is_empty(), "keys that nobody copied");
    Carried { keys, settings: settings_of(&job) }
}

/// A run leaves alone what was created in the second in which it begins.
fn let_a_second_pass(world: &World, bucket: &str) {
    let newest =
        world.sandbox.store().versions(bucket).unwrap().iter().map(|it| it.last_modified).max().unwrap();
    wait_until("the next second", || world.sandbox.now().floor_to_second() > newest);
}

type Shared = Arc<OnceLock<Carried>>;
static CARRIED: LazyLock<Mutex<HashMap<String, Shared>>> = LazyLock::new(Mutex::default);

/// The same, once for all tests that ask.
fn carried(way: Way, first: Option<&'static str>, settings: &'static str) -> Shared {
    let shared =
        Arc::clone(CARRIED.lock().unwrap().entry(format!("{way:?} {first:?} {settings}")).or_default());
    shared.get_or_init(|| carry(way, first, settings));
    shared
}

/// What the program says of a line.
fn claim(what: &str, way: Way, settings: &CopySettings) -> How {
    let lines = fidelity_by(settings, way);
    lines.iter().find(|line| line.what == what).unwrap_or_else(|| panic!("nothing is said of {what}")).how
}

/// On each way, with each of the settings, a line is as the program says.
#[track_caller]
fn holds(what: &str, first: Option<&'static str>, settings: &[&'static str], observe: fn(&Carried) -> How) {
    for way in WAYS {
        for given in settings {
            let carried = carried(way, first, given);
            let carried = carried.get().unwrap();
            let claimed = claim(what, way, &carried.settings);
            assert_eq!(observe(carried), claimed, "{what}, {way:?}, {given:?}");
        }
    }
}

/// What became of something that the source has.
fn became<T: PartialEq + Default + std::fmt::Debug>(source: &T, copy: &T) -> How {
    assert_ne!(source, &T::default(), "there is nothing to lose");
    match copy {
        copy if copy == source => How::Kept,
        copy if *copy == T::default() => How::Lost,
        _ => How::Anew,
    }
}

mod observed {
    use super::*;

    const EVERYTHING: &str = "acl: copy, lock: copy, require: [acl, lock, tags, metadata]";

    fn all_alike(carried: &Carried, alike: fn(&Pair) -> bool) -> How {
        if carried.all().all(alike) { How::Kept } else { How::Lost }
    }

    fn headers(details: &Details, is_user: bool) -> BTreeMap<String, String> {
        let wanted = |name: &str| name.starts_with("x-amz-meta-") == is_user;
        details.headers.clone().into_iter().filter(|(name, _)| wanted(name)).collect()
    }

    fn etag(version: &Version) -> String {
        version.etag.as_ref().map(|etag| etag.as_str().to_owned()).unwrap_or_default()
    }

    pub(super) fn body(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            all_alike(carried, |pair| {
                pair.from.as_ref().map(|it| &it.data) == pair.to.as_ref().map(|it| &it.data)
            })
        });
    }

    pub(super) fn size(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            all_alike(carried, |pair| pair.source.size == pair.copy.size)
        });
    }

    pub(super) fn order_of_versions(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            let history = carried.key("history");
            let kinds: Vec<_> = history.iter().map(|pair| (pair.copy.kind, pair.copy.size)).collect();
            let version = |size| (Kind::Version, size);
            let wanted =
                [version(5 * MIB + 2), (Kind::DeleteMarker, 0), version(5 * MIB + 1), version(5 * MIB + 1)];
            if kinds == wanted { How::Kept } else { How::Lost }
        });
    }

    pub(super) fn delete_markers(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            all_alike(carried, |pair| pair.source.kind == pair.copy.kind)
        });
    }

    pub(super) fn user_metadata(what: &str) {
        holds(what, None, &["", "metadata: { x-amz-meta-new: y }"], |carried| {
            became(&headers(carried.rich().from(), true), &headers(carried.rich().to(), true))
        });
    }

    pub(super) fn content_headers(what: &str) {
        holds(what, None, &["", "metadata: { content-type: image/png }"], |carried| {
            assert_eq!(headers(carried.rich().from(), false).len(), 6);
            became(&headers(carried.rich().from(), false), &headers(carried.rich().to(), false))
        });
    }

    pub(super) fn tags(what: &str) {
        holds(what, None, &["", "tags: none", "tags: { a: b }"], |carried| {
            became(&carried.rich().from().tags, &carried.rich().to().tags)
        });
    }

    pub(super) fn storage_class(what: &str) {
        holds(what, None, &["", "storage_class: GLACIER_IR"], |carried| {
            let class =
                |version: &Version| version.storage_class.as_ref().map(|class| class.as_str().to_owned());
            became(&class(&carried.rich().source), &class(&carried.rich().copy))
        });
    }

    /// Beside what the owner may.
    fn grants(details: &Details) -> Vec<String> {
        details.grants.iter().filter(|grant| !grant.starts_with("FULL_CONTROL ")).cloned().collect()
    }

    pub(super) fn access_control_list(what: &str) {
        holds(what, None, &["", EVERYTHING, "acl: authenticated-read"], |carried| {
            became(&grants(carried.rich().from()), &grants(carried.rich().to()))
        });
    }

    pub(super) fn website_redirect(what: &str) {
        holds(what, None, &["", EVERYTHING, "require: [redirect]"], |carried| {
            became(&carried.rich().from().redirect, &carried.rich().to().redirect)
        });
    }

    pub(super) fn encryption(_: &str) {
        let word = |way, first, settings| {
            let carried = carried(way, first, settings);
            let carried = carried.get().unwrap();
            assert_eq!(claim("encryption", way, &carried.settings), How::Anew);
            assert!(
                carried
                    .all()
                    .all(|pair| pair.from.as_ref().map(|it| &it.data) == pair.to.as_ref().map(|it| &it.data))
            );
            (
                carried.rich().from().encryption.clone(),
                carried.rich().to().encryption.clone().unwrap_or_default(),
            )
        };
        let managed = Some("encryption: AES256");
        let customer = "encryption: { customer_key: { env: CUSTOMER_KEY } }";
        for way in WAYS {
            assert_eq!(
                word(way, managed, ""),
                (Some("AES256".into()), String::new()),
                "{way:?}: the bucket's default"
            );
            assert_eq!(word(way, None, "encryption: AES256").1, "AES256", "{way:?}");
            let kms = word(way, None, "encryption: { kms: { key_id: k1, bucket_key: true } }").1;
            assert_eq!(kms, "aws:kms k1 with a bucket key", "{way:?}");
            assert_eq!(word(way, None, customer).1, "customer", "{way:?}");
            let back = word(way, Some(customer), "source_customer_key: { env: CUSTOMER_KEY }");
            assert_eq!(back, (Some("customer".into()), String::new()), "{way:?}");
        }
    }

    const SET_LOCK: &str = "lock: { mode: compliance, for: 10d }";
    const SET_HOLD: &str = "lock: { legal_hold: true }";

    pub(super) fn retention(what: &str) {
        holds(what, None, &["", EVERYTHING, SET_LOCK, SET_HOLD], |carried| {
            became(&carried.rich().from().lock.retention, &carried.rich().to().lock.retention)
        });
    }

    pub(super) fn legal_hold(what: &str) {
        holds(what, None, &["", EVERYTHING, SET_LOCK], |carried| {
            became(&carried.rich().from().lock.legal_hold, &carried.rich().to().lock.legal_hold)
        });
        for way in WAYS {
            let carried = carried(way, None, SET_HOLD);
            let carried = carried.get().unwrap();
            assert_eq!(claim(what, way, &carried.settings), How::Anew);
            let plain = &carried.key("parts")[0];
            assert!(!plain.from().lock.legal_hold && plain.to().lock.legal_hold, "{way:?}");
        }
    }

    pub(super) fn checksum(what: &str) {
        let of = |carried: &Carried| became(&carried.rich().from().checksum, &carried.rich().to().checksum);
        holds(what, Some("checksum: crc32c"), &["", "checksum: sha1"], of);
        // One that was made of parts: the server makes one of the whole, where it copies in one call.
        let first = Some("checksum: sha256, multipart_above: 5MiB");
        for (way, wanted) in WAYS.into_iter().zip([How::Anew, How::Lost, How::Lost]) {
            assert_eq!(of(carried(way, first, "").get().unwrap()), wanted, "{way:?}");
        }
    }

    const KEYED: &str = "encryption: { kms: { key_id: k1, bucket_key: true } }";

    pub(super) fn etag_of_one_part(what: &str) {
        holds(what, None, &["", "require: [etag]", KEYED, "encryption: AES256"], |carried| {
            became(&etag(&carried.rich().source), &etag(&carried.rich().copy))
        });
    }

    pub(super) fn etag_of_several_parts(what: &str) {
        holds(what, None, &["", "require: [etag]", KEYED, "encryption: AES256"], |carried| {
            let pair = &carried.key("parts")[0];
            assert!(etag(&pair.source).ends_with("-2\""));
            became(&etag(&pair.source), &etag(&pair.copy))
        });
    }

    pub(super) fn version_id(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            if carried.all().all(|pair| pair.source.id != pair.copy.id) { How::Lost } else { How::Kept }
        });
    }

    pub(super) fn time_of_creation(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            let is_later = |pair: &Pair| pair.copy.last_modified > pair.source.last_modified;
            if carried.all().all(is_later) { How::Anew } else { How::Kept }
        });
    }

    /// All buckets of the sandbox have one owner; what shows is that no grant names another.
    pub(super) fn owner(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            let owners = |pair: &Pair| {
                pair.to().grants.iter().filter(|grant| grant.starts_with("FULL_CONTROL ")).count()
            };
            assert!(owners(carried.rich()) <= 1);
            How::Anew
        });
    }

    /// A status is told by the server and nothing that a request could carry: no copy has a header of it.
    pub(super) fn replication_status(what: &str) {
        holds(what, None, &["", EVERYTHING], |carried| {
            let has =
                |pair: &Pair| pair.to.iter().any(|to| to.headers.contains_key("x-amz-replication-status"));
            if carried.all().any(has) { How::Kept } else { How::Lost }
        });
    }
}

#[test]
fn a_required_etag_that_cannot_stay_fails_the_copy() {
    let item = |key: &str, size_bytes, part_bytes| SeedItem {
        key: key.into(),
        size_bytes,
        part_bytes,
        age_secs: 9.0,
        ..SeedItem::default()
    };
    let seed = |bucket: &str, items| Seed {
        bucket: bucket.into(),
        keys: 0,
        real_etags: true,
        items,
        ..Seed::default()
    };
    let world = World::with(Config {
        seeds: vec![
            seed(BUCKET, vec![item("whole", 17 * MIB, 0), item("parts", 12 * MIB, 5 * MIB)]),
            seed(DESTINATION, vec![]),
        ],
        ..Config::default()
    });
    let etags = |bucket: &str| -> BTreeMap<Key, String> {
        let versions = world.sandbox.store().versions(bucket).unwrap().into_iter();
        versions.map(|version| (version.key.clone(), version.etag.unwrap().as_str().to_owned())).collect()
    };
    // Through the program, what came in one piece goes in one piece.
    world.run(&world.job(&rules(DESTINATION, &["route: stream, require: [etag]"]))).expect(0);
    assert_eq!(etags(BUCKET), etags(DESTINATION));
    // With a key of its own the source cannot be told from its ETag, and neither can the copy.
    let away = "prefix: kms/, encryption: { kms: { key_id: k1 } }";
    world.run(&world.job(&rules(DESTINATION, &[away]))).expect(0);
    let_a_second_pass(&world, DESTINATION);
    let back = world.job_on(
        DESTINATION,
        &world.sandbox.endpoint(),
        &rules(BUCKET, &["key: \"back/{key}\", require: [etag]"]).replace("state: any", "prefix: kms/whole"),
    );
    world.run(&back).expect(1);
    let failed: Vec<_> = world.audit().into_iter().filter(|line| line.outcome == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].code.as_deref(), Some("EtagDiffers"));
}

/// The table of docs/moving.md: what, and a cell for each way.
fn table() -> Vec<(String, [String; 3])> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/moving.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| what | in one call |"));
    let rows: Vec<(String, [String; 3])> = rows
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<String> =
                line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            let [what, ways @ ..] =
                <[String; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("{cells:?}"));
            (what, ways)
        })
        .collect();
    assert!(rows.len() > 15, "the table is not found");
    rows
}

#[test]
fn every_line_of_the_table_is_tested_and_says_what_the_plan_says() {
    let rows = table();
    let names: Vec<&str> = rows.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(names, TESTED, "each line has a test of its name");
    let job = |settings: &[&str]| {
        let text =
            format!("version: 1\nname: n\nbucket: {{ name: bucket }}\n{}", rules(DESTINATION, settings));
        settings_of(&job::load(&text, "job.yaml", &|_| None).unwrap())
    };
    let default = job(&[]);
    let asked = job(&["acl: copy, lock: copy, require: [acl, lock, tags, metadata, etag, redirect]"]);
    for (what, cells) in &rows {
        for (way, cell) in WAYS.into_iter().zip(cells) {
            let plain = claim(what, way, &default);
            let words = match (plain, claim(what, way, &asked)) {
                (How::Kept, _) => "kept",
                (_, How::Kept) => "kept where asked",
                (How::Anew, _) => "set anew",
                (How::Lost, _) => "lost",
            };
            let said = cell.split([':', ',']).next().unwrap();
            assert_eq!(said, words, "{what}, {way:?}");
        }
    }
}

/// Requests that write, list, read and delete at the source.
fn requests(world: &World) -> [u64; 4] {
    let of = |operations: &[Operation]| operations.iter().map(|operation| world.requests(*operation)).sum();
    [
        of(&[Operation::CopyObject, Operation::PutObject, Operation::DeleteObject]),
        of(&[Operation::ListObjectVersions]),
        of(&[Operation::GetObject, Operation::HeadObject, Operation::GetObjectTagging]),
        of(&[Operation::DeleteObjects]),
    ]
}

#[test]
fn a_plan_names_the_requests_that_are_made() {
    for route in ["", "route: stream", "require: [redirect]"] {
        // A marker upon a marker would be looked at once more.
        let mixed = common::mixed(40);
        let source =
            Seed { storage_classes: Vec::new(), real_etags: true, noncurrent_marker_share: 0.0, ..mixed };
        let destination = Seed { bucket: DESTINATION.into(), keys: 0, ..Seed::default() };
        let world = World::with(Config { seeds: vec![source, destination], ..Config::default() });
        let job = world.job(&rules(DESTINATION, &[route]).replace("copy:", "move:"));
        let path = job.to_str().unwrap();
        let plan = world.call(&["plan", path, "--output", "json"]).expect(0).json();
        let figures = &plan["figures"]["transfers"][0];
        assert_eq!(figures["versions"], world.count());
        assert_eq!(figures["route"], if route.contains("stream") { "stream" } else { "server" });
        let figure = |name: &str| figures[name].as_u64().unwrap_or_else(|| panic!("{name} in {figures}"));
        let before = requests(&world);
        world.call(&["apply", path, "--yes"]).expect(0);
        assert_eq!(world.count(), 0);
        let after = requests(&world);
        let [write, list, read, delete] = [0, 1, 2, 3].map(|at| after[at] - before[at]);
        assert_eq!(write, figure("write_requests"), "{route}");
        // At least: a key that begins with a marker, or has one upon another, is looked at by itself.
        let keys = figure("keys");
        assert!((figure("list_requests")..keys / 2).contains(&list), "{route}: {list} for {keys} keys");
        // Markers count among the versions and are not read; batches cut deletions into more requests.
        let versions = figure("versions");
        assert!(
            read <= figure("read_requests") && figure("read_requests") <= read + 3 * versions / 2,
            "{route}: {read}, {figures}"
        );
        assert!(delete >= figure("delete_requests"), "{route}: {delete}");
        assert_eq!(figures["fidelity"][0]["how"], "kept");
    }
}

#[test]
fn check_and_plan_say_what_is_lost() {
    let world = world();
    let job = world.job(&rules(DESTINATION, &["acl: copy"]));
    let path = job.to_str().unwrap();
    let check = world.call(&["check", path]).expect(0).stdout;
    assert!(check.contains("  lost: retention (say lock: copy to keep it)\n"), "{check}");
    assert!(!check.contains("lost: access control list"), "{check}");
    let json = world.call(&["check", path, "--output", "json"]).expect(0).json();
    assert_eq!(json["fidelity"][0]["rule"], "all");
    assert_eq!(json["fidelity"][0]["lines"][0]["what"], "body");
    let plan = world.call(&["plan", path]).expect(0).stdout;
    assert!(plan.contains("  all copies 6 versions of 3 keys, "), "{plan}");
    assert!(plan.contains("lost: retention (say lock: copy to keep it)\n"), "{plan}");
}

#[test]
fn the_example_of_the_readme_moves_and_copies() {
    let world = world();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/try-moving.yaml");
    let run = world.call(&["run", path, "--yes", "--output", "json"]).expect(0).json();
    let done = |at: usize| run["rules"][at]["done"].as_u64().unwrap();
    assert_eq!((run["failed"].as_u64(), run["pending"].as_u64()), (Some(0), Some(0)), "{run}");
    assert!(done(0) > 1000 && done(1) > 100, "{run}");
}
