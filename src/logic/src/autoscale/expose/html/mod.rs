//! The status page for people: one file, no script, nothing from elsewhere, so it works under the strictest content security policy
//! and from a terminal's browser. It refreshes itself.

mod tables;
#[cfg(test)]
mod tests;

use crate::autoscale::metrics::zone::Zone;
use crate::autoscale::metrics::Now;
use crate::autoscale::policy::decision::Decision;
use std::fmt::{self, Display, Write};

/// What the page may load: its own style sheet and nothing else.
pub const SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const REFRESH_S: u32 = 5;
const STYLE: &str = include_str!("page.css");

/// What is known beyond the zone.
#[derive(Default)]
pub struct Loop<'a> {
    pub policies: &'a [PolicyRow],
    /// The newest first.
    pub decisions: &'a [Decision],
    /// Upstream and address of those that nginx sends nothing to, whatever the zone says.
    pub down: &'a [(String, String)],
}

/// A policy and what it says of itself.
pub struct PolicyRow {
    pub name: String,
    pub target: Option<String>,
    /// `on`, `observe`, `off`.
    pub mode: &'static str,
    pub replicas: Option<u32>,
    /// The lines as they were written.
    pub rules: Vec<String>,
    /// What it said last, with the signals it looked at.
    pub last: Option<Decision>,
}

/// The whole page.
pub fn page(zone: &Zone<'_>, now: Now, beyond: &Loop<'_>) -> String {
    let mut html = Html(String::with_capacity(16 * 1024));
    let title = "Autoscale Lua";
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw(&format!("<meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">"));
    html.raw("<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"><title>");
    html.text(&title);
    html.raw("</title><style>");
    html.raw(STYLE);
    html.raw("</style></head><body><h1>");
    html.text(&title);
    html.raw("</h1>");
    tables::zone(&mut html, zone, now);
    tables::policies(&mut html, beyond.policies);
    tables::decisions(&mut html, beyond.decisions);
    tables::upstreams(&mut html, zone, now, beyond.down);
    tables::keys(&mut html, zone, now);
    tables::reported(&mut html, zone, now);
    html.raw("</body></html>\n");
    html.0
}

/// A page in the making. Everything that was not written here goes through [`Html::text`].
struct Html(String);

impl Html {
    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    /// Text between tags: no character of it is taken as HTML.
    fn text(&mut self, text: &dyn Display) {
        // writing to a String does not fail, and neither do the numbers and texts that are shown
        let _ = write!(Escaped(&mut self.0), "{text}");
    }

    /// A column whose name begins with `<` has text, the others numbers.
    fn table(&mut self, heading: &str, columns: &[&str], rows: impl FnOnce(&mut Self)) {
        self.raw("<h2>");
        self.text(&heading);
        self.raw("</h2><div class=\"wide\"><table><thead><tr>");
        for column in columns {
            let name = column.strip_prefix('<');
            self.raw("<th");
            self.class(if name.is_some() { "l" } else { "" });
            self.raw(">");
            self.text(&name.unwrap_or(column));
        }
        self.raw("</thead><tbody>");
        rows(self);
        self.raw("</tbody></table></div>");
    }

    fn row(&mut self, class: &str, cells: &[Cell<'_>]) {
        self.raw("<tr");
        self.class(class);
        self.raw(">");
        for cell in cells {
            self.raw("<td");
            self.class(cell.class);
            self.raw(">");
            self.text(cell.shown);
        }
    }

    /// The class is one of ours.
    fn class(&mut self, class: &str) {
        if !class.is_empty() {
            self.raw(" class=\"");
            self.raw(class);
            self.raw("\"");
        }
    }
}

struct Cell<'a> {
    class: &'static str,
    shown: &'a dyn Display,
}

fn cell(shown: &dyn Display) -> Cell<'_> {
    Cell { class: "", shown }
}

fn styled<'a>(class: &'static str, shown: &'a dyn Display) -> Cell<'a> {
    Cell { class, shown }
}

struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // a name may turn the direction of the text, or hide
                c if c.is_control()
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    self.0.push('\u{fffd}');
                }
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}
