//! Octets of a file, in pieces, to lines.

use super::entry::MAX_MESSAGE_BYTES;

/// Takes lines out of what is read: they end with LF or CR LF; invalid UTF-8 is replaced; of
/// one longer than 1 MiB the rest is left out, and a mark stands in its place. NULs in front of a
/// line are a hole: its writer went on where it was in a file that was truncated.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// Octets of the running line that were left out.
    cut: usize,
}

impl Lines {
    /// Takes a piece; `line` gets each line that ends in it, without its end.
    pub(super) fn take(&mut self, mut piece: &[u8], mut line: impl FnMut(&str)) {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (head, rest) = piece.split_at(end);
            let head = self.without_hole(head);
            piece = &rest[1..];
            if self.partial.is_empty() && self.cut == 0 && head.len() <= MAX_MESSAGE_BYTES {
                line(&text(head));
            } else {
                self.keep(head);
                self.flush(&mut line);
            }
        }
        self.keep(self.without_hole(piece));
    }

    fn without_hole<'a>(&self, piece: &'a [u8]) -> &'a [u8] {
        let is_hole = self.partial.is_empty() && self.cut == 0;
        let begin = if is_hole { piece.iter().position(|octet| *octet != 0) } else { Some(0) };
        begin.map_or(&[], |begin| &piece[begin..])
    }

    /// Ends the running line, if there is one: nothing more comes of it.
    pub(super) fn flush(&mut self, mut line: impl FnMut(&str)) {
        let partial = std::mem::take(&mut self.partial);
        match std::mem::take(&mut self.cut) {
            0 if partial.is_empty() => {}
            0 => line(&text(&partial)),
            cut => line(&format!("{}… ({cut} octets were cut off)", text(&partial))),
        }
    }

    /// Forgets the running line; answers its octets.
    pub(super) fn forget(&mut self) -> usize {
        std::mem::take(&mut self.partial).len() + std::mem::take(&mut self.cut)
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = (MAX_MESSAGE_BYTES - MARK_BYTES).saturating_sub(self.partial.len());
        // Up to the limit a line is whole; a mark has its room only where it is needed.
        let fits = self.cut == 0 && self.partial.len() + piece.len() <= MAX_MESSAGE_BYTES;
        if fits {
            self.partial.extend_from_slice(piece);
            return;
        }
        let over = self.partial.len().saturating_sub(MAX_MESSAGE_BYTES - MARK_BYTES);
        self.partial.truncate(MAX_MESSAGE_BYTES - MARK_BYTES);
        let (kept, rest) = piece.split_at(room.min(piece.len()));
        self.partial.extend_from_slice(kept);
        self.cut += over + rest.len();
    }
}

/// Without the CR of its end.
fn text(line: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Room for the mark.
const MARK_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let octets = b"one\ntwo\r\n\nthr\xffee\xc3\xa9\nrest";
        for size in 1..octets.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            octets.chunks(size).for_each(|piece| lines.take(piece, |line| found.push(line.to_owned())));
            assert_eq!(found, ["one", "two", "", "thr\u{fffd}eeé"], "{size}");
            lines.flush(|line| found.push(line.to_owned()));
            assert_eq!(found[4], "rest");
        }
    }

    #[test]
    fn a_hole_in_front_of_a_line_is_left_out() {
        for size in 1..9 {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            let octets = b"\0\0\0one\0\ntwo\n";
            octets.chunks(size).for_each(|piece| lines.take(piece, |line| found.push(line.to_owned())));
            assert_eq!(found, ["one\0", "two"], "{size}");
        }
    }

    #[test]
    fn a_line_of_the_limit_is_whole_and_one_octet_more_is_cut_with_a_mark() {
        for (length, cut) in
            [(MAX_MESSAGE_BYTES, 0), (MAX_MESSAGE_BYTES + 1, 65), (3 * MAX_MESSAGE_BYTES, 2 * MAX_MESSAGE_BYTES + 64)]
        {
            for size in [1 << 16, 4 << 20] {
                let (mut lines, mut found) = (Lines::default(), Vec::new());
                let octets = [vec![b'x'; length], b"\nnext\n".to_vec()].concat();
                octets.chunks(size).for_each(|piece| lines.take(piece, |line| found.push(line.to_owned())));
                assert_eq!((found.len(), found[1].as_str()), (2, "next"));
                let mark = format!("… ({cut} octets were cut off)");
                let kept = if cut == 0 { length } else { length - cut };
                assert_eq!(found[0].matches('x').count(), kept, "{length} {size}");
                assert_eq!(found[0].ends_with(&mark), cut > 0, "{length} {size}");
                assert!(found[0].len() <= MAX_MESSAGE_BYTES);
            }
        }
    }
}
