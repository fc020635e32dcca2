//! Every crate that the program or its tests are built of has a licence that asks for no more than
//! to be named, and comes from the registry.

use std::process::Command;

const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_is_allowed() {
    let about = Command::new("rustc").arg("-vV").output().unwrap();
    let about = String::from_utf8(about.stdout).unwrap();
    // What this machine builds is there without a network.
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages.iter().filter(|package| package["name"] != env!("CARGO_PKG_NAME")) {
        let (name, source) = (&package["name"], package["source"].as_str().unwrap_or("a folder"));
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(licence), "{name}: {licence}; allowed are {ALLOWED:?}");
    }
}

/// Whether an SPDX expression can be met: all of its `AND`, of each any of its `OR`. A slash is the older `OR`.
fn is_allowed(expression: &str) -> bool {
    let any = |part: &str| part.replace('/', " OR ").split(" OR ").any(|one| ALLOWED.contains(&one.trim()));
    expression.split(" AND ").all(|part| any(part.trim_matches(['(', ')', ' '])))
}

#[test]
fn a_licence_is_allowed_where_one_of_its_choices_is_and_all_of_its_parts_are() {
    for allowed in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["GPL-3.0-only", "AGPL-3.0-only OR SSPL-1.0", "MIT AND GPL-2.0-only", "none", ""] {
        assert!(!is_allowed(refused), "{refused}");
    }
}
