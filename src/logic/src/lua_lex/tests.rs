use super::*;
use proptest::prelude::*;

/// Feeds `body` cut into pieces of the given lengths (the last one repeats), as bytes consumed in all and the line.
fn read(body: &[u8], cuts: &[usize]) -> (Result<usize, LexError>, usize) {
    let mut block = LuaBlock::new(10);
    let mut at = 0;
    let mut cut = 0;
    while at < body.len() {
        let len = cuts.get(cut).or(cuts.last()).copied().unwrap_or(body.len()).max(1);
        cut += 1;
        let chunk = &body[at..body.len().min(at + len)];
        match block.feed(chunk) {
            Ok(Feed::More) => at += chunk.len(),
            Ok(Feed::Done { consumed }) => return (Ok(at + consumed), block.line()),
            Err(error) => return (Err(error), block.line()),
        }
    }
    (Err(block.finish()), block.line())
}

fn whole(body: &str) -> Result<usize, LexError> {
    let one = read(body.as_bytes(), &[body.len()]);
    assert_eq!(one, read(body.as_bytes(), &[1]), "one byte at a time: {body:?}");
    one.0
}

#[test]
fn closing_brace_is_found_behind_everything_that_hides_one() {
    // the block ends at the first "}@"
    for body in [
        "}@",
        " ngx.say(1) }@ }",
        "local a = {1, {2}, {}} }@",
        r#"ngx.say("}1, 2)") ngx.say('{1, 2)') }@"#,
        r#"ngx.say("\"}", '\'{', "\\") }@"#,
        r#"x = "'}" y = '"}' }@"#,
        "x = \"a\\\n}\" }@",
        "x = \"a\\\r\n}\" }@",
        "x = \"a\\\n\r}\" }@",
        "x = \"a\\z  \n\t\r\n\x0b }\" }@",
        "x = \"\\x7d\\125\\u{7d}\" }@",
        "--}} {}\n x() }@",
        "--}} {}\r x() }@",
        "--[ }\n }@",
        "--[==}\n }@",
        "---[[ }\n }@",
        "-- don't\n }@",
        "--[[\n{{{\n\n}\n]]\n--[==[\n}}}\n{\n]==] x() }@",
        "--[[ ]=]\n' \"\n } ]] x() }@",
        "--[[ --]] x() }@",
        "--[=[ ]]} ]==]} ]=]] = 1 }@",
        "x = [[ok--]] .. [==[ok--]==] }@",
        "x = [[Hey, it is \"!]] }@",
        "x = [=[ ]] } ]=]x }@",
        "x = [[]]]] }@",
        "x = [==[ ]=]==] }@",
        "ngx.say(t1[t2[1]]) }@",
        "a[ [[}]] ] = 1 }@",
        "a[\"}\"] = 1 }@",
        "a[={}] }@",
        "x = 1 - -1 -'}' }@",
        "]=] }@",
    ] {
        let end = body.find("}@").unwrap() + 1;
        assert_eq!(whole(body), Ok(end), "{body:?}");
    }
}

#[test]
fn block_without_end_says_what_is_open_and_where() {
    for (body, text) in [
        ("", "unexpected end of file, expecting \"}\" to end the Lua code block that starts at line 10"),
        (
            "{}\n{ -",
            "unexpected end of file, expecting \"}\" to end the Lua code block that starts at line 10",
        ),
        ("-- }", "unexpected end of file, expecting \"}\" to end the Lua code block that starts at line 10"),
        ("\n x = \"a }\n", "unfinished string in Lua code block, it starts with \" at line 11"),
        ("\n x = 'a }\r\n", "unfinished string in Lua code block, it starts with ' at line 11"),
        ("\n x = 'a \r", "unfinished string in Lua code block, it starts with ' at line 11"),
        ("\n\n'\\\n\\z\n\n", "unfinished string in Lua code block, it starts with ' at line 12"),
        (
            "\n\n x = [[ }\n\n",
            "Lua code block missing the closing long bracket \"]]\" of the string that starts at line 12",
        ),
        (
            "\n--[==[ ]=] }\n\n",
            "Lua code block missing the closing long bracket \"]==]\" of the comment that starts at line 11",
        ),
        (
            "[=[ ]=",
            "Lua code block missing the closing long bracket \"]=]\" of the string that starts at line 10",
        ),
    ] {
        assert_eq!(whole(body).unwrap_err().to_string(), text, "{body:?}");
    }
}

#[test]
fn lines_are_counted_to_the_closing_brace_and_no_further() {
    let body = b"\n'\\\n'--[[\n]]\r\n[[\n]] }\n\n";
    assert_eq!(read(body, &[4]), (Ok(body.len() - 2), 15));
}

#[test]
fn nothing_is_taken_after_the_end_and_an_error_repeats() {
    let mut block = LuaBlock::new(1);
    assert_eq!(block.feed(b"x } y"), Ok(Feed::Done { consumed: 3 }));
    assert_eq!(block.feed(b"z"), Ok(Feed::Done { consumed: 0 }));

    let mut block = LuaBlock::new(1);
    let error = block.feed(b"'\n").unwrap_err();
    assert_eq!(block.feed(b"}"), Err(error));
    assert_eq!(block.feed(b""), Err(error));
    assert_eq!(block.finish(), error);
}

#[test]
fn megabyte_bodies_and_deep_nesting() {
    let mut body = b"x = [[".to_vec();
    body.resize(1 << 20, b'}');
    body.extend_from_slice(b"]]\n");
    body.extend(std::iter::repeat_n(b'{', 1 << 20));
    body.extend(std::iter::repeat_n(b'}', (1 << 20) + 1));
    let len = body.len();
    body.extend_from_slice(b"}}");
    assert_eq!(read(&body, &[4096]), (Ok(len), 11));
}

/// A piece of Lua that is complete in itself and leaves the braces balanced.
fn piece() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z(),.+;\\]=]{0,8}",
        "[a-z]\\[[a-z0-9]{1,3}\\]",
        "(\\\\[a-y\"'\\\\\n]|\\\\z[ \n\t]{0,3}|[^\"\\\\\n\r]){0,12}".prop_map(|s| format!("\"{s}\"")),
        "(\\\\[a-y\"'\\\\\n]|\\\\\r\n|[^'\\\\\n\r]){0,12}".prop_map(|s| format!("'{s}'")),
        "( [^\n\r]{0,12}|\\[=*[a-z{}\"][^\n\r]*)?".prop_map(|s| format!("--{s}\n")),
        (0usize..3, "[{}\\]\\[=\"'\\\\\n\r -]{0,20}", any::<bool>()).prop_map(|(n, s, comment)| {
            let eq = "=".repeat(n);
            // the text must not hold its own end, nor run into it
            let text = s.replace(&format!("]{eq}]"), "").replace(']', "] ");
            format!("{}[{eq}[{text} ]{eq}]", if comment { "--" } else { "" })
        }),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop::collection::vec(inner, 0..6).prop_map(|parts| format!("{{ {} }}", parts.join(" ")))
    })
}

proptest! {
    #[test]
    fn balanced_pieces_end_at_the_brace_after_them(
        pieces in prop::collection::vec(piece(), 0..8), cuts in prop::collection::vec(1usize..9, 1..9),
    ) {
        let body = format!("{} }}", pieces.join(" "));
        let text = format!("{body} }} trailing '");
        let lines = 10 + body.matches('\n').count();
        prop_assert_eq!(read(text.as_bytes(), &cuts), (Ok(body.len()), lines), "{:?}", body);
    }

    #[test]
    fn chunk_boundaries_change_nothing(
        body in "[{}\\[\\]=\"'\\\\\n\r\tz -]{0,60}", cuts in prop::collection::vec(1usize..9, 1..9),
    ) {
        let (one, line) = read(body.as_bytes(), &[body.len()]);
        let (many, at) = read(body.as_bytes(), &cuts);
        prop_assert_eq!(one, many);
        if one.is_ok() {
            prop_assert_eq!(line, at);
        }
    }
}
