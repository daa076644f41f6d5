//! The extended-data section behind a payload: `code u8 | length u8 | value`, repeated, in any order.
//!
//! One strict parser (Herald payload/extended.md leaves its own lenient) and the list of what may leave a country.
//! A value is never printed: it may say where somebody was.

use std::fmt;

use crate::malformed::Malformed;
use crate::octets::Reader;

/// Extended data that keeps every rule; empty is fine. Only [`ExtendedData::parse`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtendedData<'a>(&'a [u8]);

/// One section: its code and 1-255 octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// What the value means.
    pub code: u8,
    /// The value, checked against the code's type.
    pub value: &'a [u8],
}

/// Extended data of which every section may cross a border. Only [`ExtendedData::leaving`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct LeavingData<'a>(ExtendedData<'a>);

/// Who gets a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// The authority that issued the token.
    Issuer,
    /// Anybody else.
    Other,
}

/// Whether a section may leave the country in which a phone recorded it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// Signal strength and its description: 01, 02, 40, 41.
    Always,
    /// What a phone closed for its own authority: 3F.
    ToIssuer,
    /// Places, times, phone models, web addresses, everything unknown.
    Never,
}

impl<'a> ExtendedData<'a> {
    /// Checks every section: whole, not empty, once each, of its code's type. Allocates nothing.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("extended data", octets);
        let mut seen = CodeSet::default();
        while !reader.is_done() {
            let section = Section::read(&mut reader)?;
            if section.code == 0x00 && !seen.is_empty() {
                return Err(section.refused("it must come first"));
            }
            if !seen.insert(section.code) {
                return Err(section.refused("it stands here twice; leave one out"));
            }
            section.check()?;
        }
        let data = Self(octets);
        if seen.contains(0x04) {
            data.check_sonar_error()?;
        }
        Ok(data)
    }

    /// The sections in their order.
    #[must_use]
    #[inline]
    pub fn sections(&self) -> Sections<'a> {
        Sections(Reader::new("extended data", self.0))
    }

    /// The value of a section, if it is there.
    #[must_use]
    pub fn value(&self, code: u8) -> Option<&'a [u8]> {
        self.sections().find(|section| section.code == code).map(|section| section.value)
    }

    /// The octets as they stand in a frame.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.0
    }

    /// What is left of it for this recipient: sections that may not leave are dropped.
    #[must_use]
    pub fn forwardable(&self, to: Recipient) -> Vec<u8> {
        let mut out = Vec::new();
        for section in self.sections().filter(|section| leaving(section.code).permits(to)) {
            section.put(&mut out);
        }
        out
    }

    /// The same data if all of it may go to this recipient; [`Malformed::Forbidden`] names the first that may not.
    #[inline]
    pub fn leaving(self, to: Recipient) -> Result<LeavingData<'a>, Malformed> {
        match self.sections().find(|section| !leaving(section.code).permits(to)) {
            None => Ok(LeavingData(self)),
            Some(Section { code, .. }) => {
                let field = format!("extended data section {code:#04x} ({})", name(code));
                Err(Malformed::Forbidden { field })
            }
        }
    }

    // 04 bounds the error of 03 and has 03's type, whichever comes first.
    fn check_sonar_error(&self) -> Result<(), Malformed> {
        let len = |code| self.value(code).map(<[u8]>::len);
        if len(0x03) == len(0x04) {
            return Ok(());
        }
        Err(Malformed::Section { code: 0x04, reason: "it needs section 0x03, of the same length" })
    }
}

impl<'a> LeavingData<'a> {
    /// The data itself.
    #[must_use]
    pub fn data(&self) -> ExtendedData<'a> {
        self.0
    }

    /// The octets as they stand in a report.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.0.0
    }
}

impl<'a> Section<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (code, len) = (reader.u8()?, reader.u8()?);
        let refused = |reason| Malformed::Section { code, reason };
        if len == 0 {
            return Err(refused("it is empty; leave it out"));
        }
        let value =
            reader.take(len.into()).map_err(|_| refused("its length goes past the end of the data"))?;
        Ok(Self { code, value })
    }

    fn put(&self, out: &mut Vec<u8>) {
        let len = u8::try_from(self.value.len()).expect("a section is made from a length of one octet");
        out.extend_from_slice(&[self.code, len]);
        out.extend_from_slice(self.value);
    }

    #[inline]
    fn check(&self) -> Result<(), Malformed> {
        match layout(self.code) {
            Layout::Octets { allowed, must } if !allowed.contains(&self.value.len()) => {
                Err(self.refused(must))
            }
            Layout::Octets { .. } | Layout::Opaque => Ok(()),
            Layout::Version if self.value == [1] => Ok(()),
            Layout::Version => Err(self.refused("the area format version must be 1, in one octet")),
            Layout::Text => self.check_text("").map(drop),
            Layout::Lines => self.check_text("\n").map(drop),
            Layout::Url if self.check_text("")?.starts_with("https://") => Ok(()),
            Layout::Url => Err(self.refused("it must begin with https://")),
            Layout::Reserved => Err(self.refused("extended codes are not defined; leave it out")),
        }
    }

    fn check_text(&self, besides: &str) -> Result<&'a str, Malformed> {
        let text = str::from_utf8(self.value).map_err(|_| self.refused("it must be UTF-8"))?;
        if text.contains(|letter: char| letter.is_control() && !besides.contains(letter)) {
            return Err(self.refused("it must have no control characters"));
        }
        Ok(text)
    }

    fn refused(&self, reason: &'static str) -> Malformed {
        Malformed::Section { code: self.code, reason }
    }
}

/// Appends one section of 1-255 octets. Whether it fits its neighbours is for [`ExtendedData::parse`] to say.
pub fn put_section(out: &mut Vec<u8>, code: u8, value: &[u8]) -> Result<(), Malformed> {
    if !(1..=255).contains(&value.len()) {
        return Err(Malformed::Section { code, reason: "its value must be 1 to 255 octets" });
    }
    let section = Section { code, value };
    section.check()?;
    section.put(out);
    Ok(())
}

/// The sections of checked data.
pub struct Sections<'a>(Reader<'a>);

impl<'a> Iterator for Sections<'a> {
    type Item = Section<'a>;

    #[inline]
    fn next(&mut self) -> Option<Section<'a>> {
        // Parsed once already: an error here is the end.
        Section::read(&mut self.0).ok()
    }
}

impl Leaving {
    /// Whether a section may go to this recipient.
    #[must_use]
    pub fn permits(self, to: Recipient) -> bool {
        match self {
            Self::Always => true,
            Self::ToIssuer => to == Recipient::Issuer,
            Self::Never => false,
        }
    }
}

/// Whether sections of this code may leave a country. A list of what may, so that new codes stay at home.
#[must_use]
pub fn leaving(code: u8) -> Leaving {
    match code {
        0x01 | 0x02 | 0x40 | 0x41 => Leaving::Always,
        0x3f => Leaving::ToIssuer,
        _ => Leaving::Never,
    }
}

/// What a value looks like (table of Herald payload/extended.md).
enum Layout {
    Octets { allowed: &'static [usize], must: &'static str },
    Version,
    Text,
    Lines,
    Url,
    Opaque,
    Reserved,
}

fn layout(code: u8) -> Layout {
    match code {
        0x00 => Layout::Version,
        0x01 | 0x02 => Layout::Octets { allowed: &[1], must: "it must be one octet" },
        0x03 | 0x04 => {
            Layout::Octets { allowed: &[4, 8], must: "it must be a number of four or eight octets" }
        }
        0x05 | 0x10..=0x12 | 0x15 | 0x16 | 0x42 => Layout::Text,
        0x06..=0x08 => Layout::Octets { allowed: &[4], must: "it must be two numbers of two octets" },
        0x13 => Layout::Url,
        0x14 => Layout::Lines,
        0x18 | 0x20 | 0x21 => Layout::Octets { allowed: &[4], must: "it must be four octets" },
        0x40 | 0x41 => Layout::Octets { allowed: &[1], must: "it must be one signed octet, in dBm" },
        0xff => Layout::Reserved,
        // 17 is text or a number as its country likes; 3E and 3F are closed; all others are not defined yet.
        _ => Layout::Opaque,
    }
}

fn name(code: u8) -> &'static str {
    match code {
        0x00 => "area format version",
        0x03 | 0x04 => "sonar range",
        0x05 => "approximate area",
        0x06..=0x08 => "coordinates",
        0x10..=0x12 => "premises",
        0x13 => "web address",
        0x14 => "address",
        0x15 | 0x16 => "entry source",
        0x17 | 0x18 => "company",
        0x20 | 0x21 => "exact time",
        0x3e => "closed for the phone",
        0x3f => "closed for the issuing authority",
        0x42 => "phone model",
        0x80..=0xfe => "application's own",
        _ => "reserved",
    }
}

/// Which of the 256 codes have been seen.
#[derive(Default)]
struct CodeSet([u64; 4]);

impl CodeSet {
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
        new
    }

    fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl fmt::Debug for ExtendedData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extended data: {} octets", self.0.len())
    }
}

impl fmt::Debug for LeavingData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "section {:#04x}: {} octets", self.code, self.value.len())
    }
}

#[cfg(test)]
mod tests;
