//! The dashboard's files as a browser asks for them.

use axum::http::header;

use super::bed::Bed;

/// The paths that `text` imports or refers to, as seen from the file at `from`.
fn wanted(from: &str, text: &str) -> Vec<String> {
    let folder = &from[..=from.rfind('/').unwrap()];
    let imported = text
        .lines()
        .filter_map(|line| line.strip_prefix("import ")?.split('"').nth(1));
    let imported = imported.map(|path| match path.strip_prefix("../") {
        Some(path) => format!("/dashboard/{path}"),
        None => format!("{folder}{}", path.trim_start_matches("./")),
    });
    let linked = text.match_indices("\"/dashboard/").map(|(at, _)| {
        let path = &text[at + 1..];
        path[..path.find('"').unwrap()].to_owned()
    });
    imported.chain(linked).collect()
}

#[tokio::test]
async fn every_file_that_a_page_needs_is_there_and_none_comes_from_elsewhere() {
    let bed = Bed::new();
    let (mut left, mut seen) = (vec!["/".to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = bed.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        let text = String::from_utf8(answer.body).unwrap();
        let elsewhere = ["http://", "https://"]
            .map(|scheme| text.replace("http://www.w3.org/2000/svg", "").contains(scheme));
        assert_eq!(elsewhere, [false, false], "{path} asks somebody else");
        assert!(
            !text.contains("innerHTML"),
            "{path}: what a plugin says is text, never markup"
        );
        left.extend(wanted(&path, &text));
        seen.push(path);
    }
    assert_eq!(
        seen.len(),
        super::super::dashboard::FILES.len(),
        "no file is left over: {seen:?}"
    );
}
