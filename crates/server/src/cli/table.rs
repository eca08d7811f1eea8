//! Columns that line up.
//!
//! Widths are counted before colours are put on. The last column is never padded, so that nothing
//! ends in blanks.

use super::print::{Output, Tone, clean};

/// One cell: what stands there and how.
pub(super) type Cell = (String, Tone);

/// A table with a heading over each column.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
    right: &'static [usize],
}

impl Table {
    /// A table with these headings; the columns in `right` hold numbers and end together.
    pub(super) fn new(headings: &[&str], right: &'static [usize]) -> Table {
        let first = headings.iter().map(|text| ((*text).to_owned(), Tone::Faint)).collect();
        Table { rows: vec![first], right }
    }

    /// A table without headings.
    pub(super) fn bare() -> Table {
        Table { rows: Vec::new(), right: &[] }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines.
    pub(super) fn render(&self, output: Output) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(width).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - width(cell));
                let painted = output.paint(&cell.0, cell.1);
                if self.right.contains(&column) {
                    line.push_str(&padding);
                    line.push_str(&painted);
                } else {
                    line.push_str(&painted);
                    line.push_str(&padding);
                }
                line.push_str("  ");
            }
            text.push_str(line.trim_end_matches(' '));
            text.push('\n');
        }
        text
    }
}

fn width(cell: &Cell) -> usize {
    clean(&cell.0).chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_end_together() {
        let mut table = Table::new(&["KEY", "STATE", "COUNT"], &[2]);
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        table.row(vec![cell("42"), cell("pending"), cell("7")]);
        table.row(vec![cell("order-é-4711"), cell("done"), cell("1234567")]);
        let expected = "\
KEY           STATE      COUNT
42            pending        7
order-é-4711  done     1234567
";
        assert_eq!(table.render(Output::plain()), expected);
    }
}
