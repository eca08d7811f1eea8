//! Redis's patterns: `*`, `?`, `[a-z]`, `[^a]`, and a backslash before what is meant as it stands.
//!
//! Matching goes back to the last `*` only, in a loop: a hostile pattern costs at most the product
//! of both lengths, and never stack. The rules are those of Redis, odd ones included: a bracket that
//! is not closed ends with the pattern, and a range may be written backwards.

/// Does the text match the pattern, all of it?
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut steps = usize::MAX;
    matches_within(pattern, text, &mut steps).unwrap_or(false)
}

/// The same, in so many steps at most; none if they are not enough.
pub(crate) fn matches_within(pattern: &[u8], text: &[u8], steps: &mut usize) -> Option<bool> {
    let (mut at, mut read) = (0, 0);
    // Where to go on after the last star, and how much text it has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    loop {
        // A class takes a step for each of its bytes.
        let length = if pattern.get(at) == Some(&b'[') { pattern.len() - at } else { 1 };
        *steps = steps.checked_sub(length)?;
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, read));
            continue;
        }
        let step = text.get(read).and_then(|byte| one(&pattern[at..], *byte));
        if let Some(step) = step {
            at += step;
            read += 1;
            continue;
        }
        if read == text.len() && at == pattern.len() {
            return Some(true);
        }
        match star {
            Some((after, swallowed)) if swallowed < text.len() => {
                star = Some((after, swallowed + 1));
                (at, read) = (after, swallowed + 1);
            }
            _ => return Some(false),
        }
    }
}

/// How much of the pattern stands for this byte, if its beginning does.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => {
            let (is_in, length) = class(rest, byte);
            is_in.then_some(1 + length)
        }
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [literal, ..] => (*literal == byte).then_some(1),
    }
}

/// Is the byte of this class, and how long is the class with its closing bracket?
fn class(class: &[u8], byte: u8) -> (bool, usize) {
    let is_negated = class.first() == Some(&b'^');
    let mut at = usize::from(is_negated);
    let mut is_in = false;
    loop {
        match class[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                is_in |= literal == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                is_in |= (from.min(to)..=from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                is_in |= literal == byte;
                at += 1;
            }
        }
    }
    (is_in != is_negated, at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_mean_what_they_mean_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[\\]]", "]", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("__key*@0__:expired", "__keyevent@0__:expired", true),
            ("orders:*", "orders:42", true),
            ("*:42", "orders:4242", false),
            ("*a", "aaab", false),
            ("[abc", "a", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_are_no_danger() {
        let pattern = "*a".repeat(1_000) + "b";
        let text = "a".repeat(10_000);
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }
}
