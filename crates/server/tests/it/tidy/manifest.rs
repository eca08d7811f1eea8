//! What a crate's manifest may ask for: the edges between our own crates, and which libraries are
//! kept out of which. It reads `Cargo.toml` only; licences and sources are checked by `deny.toml`.

use super::Complaint;
use super::table::{CRATES, Libraries};

/// Checks one manifest. Dependencies of tests may be more, and build scripts count as the product.
pub(super) fn check(path: &str, text: &str) -> Vec<Complaint> {
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("{path}: {error}")],
    };
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let Some((_, own, libraries)) = CRATES.iter().find(|(known, _, _)| *known == name) else {
        return vec![format!("{path}: the crate `{name}` is not in the table: add its edges")];
    };
    dependencies(&manifest)
        .into_iter()
        .filter_map(|dependency| {
            let ours = dependency == "duly" || dependency.starts_with("duly-");
            let fine = if ours {
                own.contains(&dependency.as_str())
            } else {
                match libraries {
                    Libraries::None => false,
                    Libraries::AllBut(kept_out) => !kept_out.contains(&dependency.as_str()),
                    Libraries::All => true,
                }
            };
            (!fine).then(|| format!("{path}: `{name}` may not depend on `{dependency}`"))
        })
        .collect()
}

/// Names of everything the product itself would link, also for one platform only.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let mut names = Vec::new();
    let mut places = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        places.extend(targets.values().filter_map(toml::Value::as_table));
    }
    for place in places {
        for kind in ["dependencies", "build-dependencies"] {
            if let Some(table) = place.get(kind).and_then(toml::Value::as_table) {
                names.extend(table.iter().map(|(name, how)| {
                    let real = how.get("package").and_then(toml::Value::as_str);
                    real.unwrap_or(name).to_owned()
                }));
            }
        }
    }
    names
}
