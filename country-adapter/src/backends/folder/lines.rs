//! The lines of a file, one at a time, none longer than a report can be. The buffer is wiped.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// The longest line, octets without its end.
pub(super) const LONGEST: usize = 16 * 1024;

/// Reads lines from a file.
pub(super) struct Lines<R> {
    input: R,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    number: u32,
    at_end: bool,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Without its end.
    Text(&'a [u8]),
    /// More than [`LONGEST`]; it was skipped.
    TooLong,
}

/// Where the next line ends, counted from the beginning of what is buffered.
enum Found {
    /// So many octets, and so many for its end.
    Line(usize, usize),
    TooLong,
    End,
}

impl<R: Read> Lines<R> {
    /// Begins at the first line.
    pub(super) fn new(input: R) -> Self {
        let buffer = Zeroizing::new(vec![0; 4 * LONGEST]);
        Self { input, buffer, start: 0, end: 0, number: 0, at_end: false }
    }

    /// The next line that is not blank, with its number from 1.
    pub(super) fn read(&mut self) -> io::Result<Option<(u32, Line<'_>)>> {
        loop {
            let found = self.find()?;
            self.number = self.number.saturating_add(1);
            match found {
                Found::End => return Ok(None),
                Found::TooLong => {
                    self.skip()?;
                    return Ok(Some((self.number, Line::TooLong)));
                }
                Found::Line(len, ending) => {
                    let line = self.start..self.start + len;
                    self.start += len + ending;
                    if !self.buffer[line.clone()].trim_ascii().is_empty() {
                        return Ok(Some((self.number, Line::Text(self.buffer[line].trim_ascii()))));
                    }
                }
            }
        }
    }

    fn find(&mut self) -> io::Result<Found> {
        let mut searched = 0;
        loop {
            let buffered = &self.buffer[self.start..self.end];
            let newline = buffered[searched..].iter().position(|octet| *octet == b'\n');
            match newline.map(|at| searched + at) {
                Some(len) if len <= LONGEST => return Ok(Found::Line(len, 1)),
                None if buffered.len() <= LONGEST && self.at_end => {
                    let len = buffered.len();
                    return Ok(if len == 0 { Found::End } else { Found::Line(len, 0) });
                }
                None if buffered.len() <= LONGEST => {}
                _ => return Ok(Found::TooLong),
            }
            searched = buffered.len();
            self.fill()?;
        }
    }

    /// Leaves the rest of a line out.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            let newline = self.buffer[self.start..self.end].iter().position(|octet| *octet == b'\n');
            if let Some(at) = newline {
                self.start += at + 1;
                return Ok(());
            }
            self.start = self.end;
            if self.at_end {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let read = match self.input.read(&mut self.buffer[self.end..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            read => read?,
        };
        self.end += read;
        self.at_end = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8]) -> Vec<(u32, Option<Vec<u8>>)> {
        let mut lines = Lines::new(content);
        let mut out = Vec::new();
        while let Some((number, line)) = lines.read().unwrap() {
            let text = match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            };
            out.push((number, text));
        }
        out
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_left_out() {
        let expected = [(1, Some(b"a".to_vec())), (3, Some(b"b c".to_vec())), (5, Some(b"d".to_vec()))];
        assert_eq!(read(b"a\n\nb c\r\n  \nd"), expected);
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\n\n"), []);
    }

    #[test]
    fn a_line_of_16_kib_passes_and_a_longer_one_is_skipped() {
        let longest = vec![b'x'; LONGEST];
        for longer in [LONGEST + 1, 10 * LONGEST] {
            let content = [&longest[..], b"\n", &vec![b'y'; longer], b"\nz\n", &vec![b'y'; longer]].concat();
            let lines = read(&content);
            let texts: Vec<_> =
                lines.iter().map(|(number, text)| (*number, text.as_ref().map(Vec::len))).collect();
            assert_eq!(texts, [(1, Some(LONGEST)), (2, None), (3, Some(1)), (4, None)], "{longer}");
        }
    }

    #[test]
    fn lines_are_the_same_however_the_file_is_read() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let len = 7.min(self.0.len()).min(buffer.len());
                buffer[..len].copy_from_slice(&self.0[..len]);
                self.0 = &self.0[len..];
                Ok(len)
            }
        }
        let content = (0..3_000).map(|number| format!("line {number}\n")).collect::<String>();
        let mut lines = Lines::new(Slow(content.as_bytes()));
        let mut count = 0;
        while let Some((number, line)) = lines.read().unwrap() {
            count += 1;
            assert_eq!((number, line), (count, Line::Text(format!("line {}", count - 1).as_bytes())));
        }
        assert_eq!(count, 3_000);
    }
}
