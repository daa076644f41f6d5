//! The JSON mirror of a report, for the HTTP interface and for people.
//!
//! Reading is as strict as the octets are: what is not in the layout may not leave a country, so an unknown field is
//! an error that names it. Nothing prints a token or a key.

use serde::Serialize;

use super::Report;
use super::contact::{Contact, Token};
use super::diagnosis::{self, DiagnosisKey, GaenKey, IllKey, RollingWindow, SimpleKey};
use super::fields::{Minutes, OnsetDays, QuarterHour, ReportType, Risk, Score, TransmissionRisk};
use super::json_fields::{Base64, Fields, JsonProblem, wrong_text};
use crate::day::Day;
use crate::extended::{ExtendedData, Recipient};
use crate::header::EnvelopeHeader;
use crate::ids::{Authority, CountryCode, StateCode};
use crate::malformed::Malformed;

/// A report in JSON: right in its fields and their types; [`JsonReport::report`] checks what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JsonReport {
    /// See [`Report::Contact`].
    Contact(JsonContact),
    /// See [`Report::DiagnosisKey`].
    DiagnosisKey(JsonDiagnosisKey),
}

/// Version, payload code and authority, which both kinds begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JsonHeader {
    /// Version of the layout: 1.
    pub v: u8,
    /// Payload code.
    pub code: u8,
    /// ISO 3166-1 numeric; absent for an opaque authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<u16>,
    /// The country's own number, 0 for the national authority; absent for an opaque authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<u16>,
    /// An opaque authority as `x/0000abcd`; instead of country and state, for codes 0x00-0x07.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
}

/// The fields of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JsonContact {
    /// The issuer's header.
    #[serde(flatten)]
    pub header: JsonHeader,
    /// `YYYY-MM-DD`, UTC.
    pub date: String,
    /// `HH:MM` on a quarter hour, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// 0-360.
    pub duration_min: u16,
    /// Minutes at less than 1 m, 1-2 m, 2-4 m and more; each 0-360.
    pub proximity_min: [u16; 4],
    /// The sender's advice.
    pub risk: JsonRisk,
    /// The token.
    pub token: Base64,
    /// Extended data; absent if empty.
    #[serde(skip_serializing_if = "Base64::is_empty")]
    pub ext: Base64,
}

/// The sender's advice; all absent means no advice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JsonRisk {
    /// What kind of risk.
    #[serde(rename = "type")]
    pub kind: u8,
    /// 0-65534.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<u16>,
    /// How the score was computed.
    pub mechanism: u16,
}

/// The fields of a diagnosis key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JsonDiagnosisKey {
    /// The key's payload code and the country that should have it.
    #[serde(flatten)]
    pub header: JsonHeader,
    /// The authority that confirmed the case, as `826/1`.
    pub issuer: String,
    /// 32 octets for code 16, 16 octets for code 128.
    pub key: Base64,
    /// First interval of ten minutes since 1970.
    pub rolling_start: u32,
    /// 1-144.
    pub rolling_period: u8,
    /// `unknown`, `confirmed_test`, `confirmed_clinical`, `self_report`, `recursive` or `revoked`.
    pub report_type: String,
    /// -14 to 21.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days_since_onset: Option<i8>,
    /// 0-8.
    pub transmission_risk_level: u8,
}

const DATE: &str = "a date as 2026-11-20";
const START: &str = "a quarter hour as 10:15";
const ISSUER: &str = "an authority as 826/1";
const OPAQUE: &str = "an opaque authority as x/0000abcd";
const PROXIMITY: &str = "four numbers of 0 to 360";
const REPORT_TYPE: &str = "unknown, confirmed_test, confirmed_clinical, self_report, recursive or revoked";
const OCTET: &str = "a number of 0 to 255";
const U16: &str = "a number of 0 to 65535";

impl JsonReport {
    /// Reads one object.
    pub fn parse(json: &[u8]) -> Result<Self, JsonProblem> {
        Self::take(serde_json::from_slice(json).map_err(|error| not_json(&error))?)
    }

    /// Reads a list of objects; each is right or wrong by itself.
    pub fn parse_list(json: &[u8]) -> Result<Vec<Result<Self, JsonProblem>>, JsonProblem> {
        let list: Vec<Fields> = serde_json::from_slice(json).map_err(|error| not_json(&error))?;
        Ok(list.into_iter().map(Self::take).collect())
    }

    fn take(mut fields: Fields) -> Result<Self, JsonProblem> {
        let must = "contact or diagnosis_key";
        let kind = fields.text("kind", must)?;
        let header = JsonHeader::take(&mut fields)?;
        match kind.as_str() {
            "contact" => JsonContact::take(header, fields).map(Self::Contact),
            "diagnosis_key" => JsonDiagnosisKey::take(header, fields).map(Self::DiagnosisKey),
            _ => Err(wrong_text("kind", &kind, must)),
        }
    }

    /// Shows a report.
    #[must_use]
    pub fn from_report(report: &Report<'_>) -> Self {
        match report {
            Report::Contact(contact) => Self::Contact(JsonContact::of(contact)),
            Report::DiagnosisKey(key) => Self::DiagnosisKey(JsonDiagnosisKey::of(key)),
        }
    }

    /// The report that the fields describe, by the same rules as [`Report::decode`].
    pub fn report(&self) -> Result<Report<'_>, JsonProblem> {
        match self {
            Self::Contact(contact) => contact.contact().map(Report::Contact),
            Self::DiagnosisKey(key) => key.key().map(Report::DiagnosisKey),
        }
    }

    /// The report's octets.
    pub fn to_octets(&self) -> Result<Vec<u8>, JsonProblem> {
        let mut out = Vec::new();
        self.report()?.encode(&mut out);
        Ok(out)
    }
}

impl JsonHeader {
    fn take(fields: &mut Fields) -> Result<Self, JsonProblem> {
        Ok(Self {
            v: fields.number("v", "1")?,
            code: fields.number("code", OCTET)?,
            country: fields.optional_number("country", "an ISO 3166-1 number")?,
            state: fields.optional_number("state", U16)?,
            authority: fields.optional_text("authority", OPAQUE)?,
        })
    }

    fn of(header: EnvelopeHeader) -> Self {
        let (country, state, authority) = match header.authority() {
            Authority::State(country, state) => (Some(country.number()), Some(state.number()), None),
            opaque @ Authority::Opaque(_) => (None, None, Some(opaque.to_string())),
        };
        Self { v: Report::VERSION, code: header.code(), country, state, authority }
    }

    fn header(&self) -> Result<EnvelopeHeader, JsonProblem> {
        if self.v != Report::VERSION {
            return Err(Malformed::Version { what: "report", found: self.v, known: "1" }.into());
        }
        let authority = match (self.country, self.state, &self.authority) {
            (Some(country), Some(state), None) => {
                Authority::State(CountryCode::new(country)?, StateCode::new(state))
            }
            (None, None, Some(text)) => opaque(text)?,
            (Some(_), None, None) => {
                return Err(JsonProblem::Missing { field: "state", must: "there, 0 for national" });
            }
            _ => {
                let must = "there with state, or authority alone";
                return Err(JsonProblem::Missing { field: "country", must });
            }
        };
        Ok(EnvelopeHeader::new(self.code, authority)?)
    }
}

fn opaque(text: &str) -> Result<Authority, JsonProblem> {
    let authority = text.parse().ok().filter(|authority| matches!(authority, Authority::Opaque(_)));
    authority.ok_or_else(|| wrong_text("authority", text, OPAQUE))
}

impl JsonContact {
    fn take(header: JsonHeader, mut fields: Fields) -> Result<Self, JsonProblem> {
        let contact = Self {
            header,
            date: fields.text("date", DATE)?,
            start: fields.optional_text("start", START)?,
            duration_min: fields.number("duration_min", "0 to 360")?,
            proximity_min: fields.numbers("proximity_min", PROXIMITY)?,
            risk: fields.object("risk")?.map(JsonRisk::take).transpose()?.unwrap_or_default(),
            token: fields.base64("token")?.ok_or(JsonProblem::Missing { field: "token", must: "there" })?,
            ext: fields.base64("ext")?.unwrap_or_default(),
        };
        fields.finish("a contact")?;
        Ok(contact)
    }

    fn of(contact: &Contact<'_>) -> Self {
        Self {
            header: JsonHeader::of(contact.token.header()),
            date: contact.day.to_string(),
            start: contact.start.map(|start| start.to_string()),
            duration_min: contact.duration.number(),
            proximity_min: contact.proximity.map(Minutes::number),
            risk: JsonRisk::of(contact.risk),
            token: Base64::new(contact.token.octets()),
            ext: Base64::new(contact.extended.octets()),
        }
    }

    fn contact(&self) -> Result<Contact<'_>, JsonProblem> {
        let quarter =
            |text: &String| QuarterHour::from_text(text).ok_or_else(|| wrong_text("start", text, START));
        let mut proximity = [Minutes::default(); 4];
        for (minutes, number) in proximity.iter_mut().zip(self.proximity_min) {
            *minutes = Minutes::new("proximity_min", number)?;
        }
        Ok(Contact {
            token: Token::new(self.header.header()?, self.token.octets())?,
            day: self.date.parse::<Day>().map_err(|_| wrong_text("date", &self.date, DATE))?,
            start: self.start.as_ref().map(quarter).transpose()?,
            duration: Minutes::new("duration_min", self.duration_min)?,
            proximity,
            risk: self.risk.risk()?,
            extended: ExtendedData::parse(self.ext.octets())?.leaving(Recipient::Issuer)?,
        })
    }
}

impl JsonRisk {
    fn take(mut fields: Fields) -> Result<Self, JsonProblem> {
        let risk = Self {
            kind: fields.number("type", OCTET)?,
            score: fields.optional_number("score", U16)?,
            mechanism: fields.optional_number("mechanism", U16)?.unwrap_or(0),
        };
        fields.finish("risk")?;
        Ok(risk)
    }

    fn of(risk: Risk) -> Self {
        Self { kind: risk.kind, score: risk.score.map(Score::number), mechanism: risk.mechanism }
    }

    fn risk(&self) -> Result<Risk, JsonProblem> {
        let score = self.score.map(Score::new).transpose()?;
        Ok(Risk { kind: self.kind, score, mechanism: self.mechanism })
    }
}

impl JsonDiagnosisKey {
    fn take(header: JsonHeader, mut fields: Fields) -> Result<Self, JsonProblem> {
        let key = Self {
            header,
            issuer: fields.text("issuer", ISSUER)?,
            key: fields.base64("key")?.ok_or(JsonProblem::Missing { field: "key", must: "there" })?,
            rolling_start: fields.number("rolling_start", "an interval of ten minutes since 1970")?,
            rolling_period: fields.number("rolling_period", "1 to 144")?,
            report_type: fields.text("report_type", REPORT_TYPE)?,
            days_since_onset: fields.optional_number("days_since_onset", "-14 to 21, or left out")?,
            transmission_risk_level: fields.number("transmission_risk_level", "0 to 8")?,
        };
        fields.finish("a diagnosis key")?;
        Ok(key)
    }

    fn of(key: &DiagnosisKey) -> Self {
        let window = key.key.window();
        Self {
            header: JsonHeader::of(key.header()),
            issuer: key.issuer.to_string(),
            key: Base64::new(key.key.octets()),
            rolling_start: window.start(),
            rolling_period: window.period(),
            report_type: key.report_type.name().into(),
            days_since_onset: key.onset.map(OnsetDays::number),
            transmission_risk_level: key.transmission_risk.number(),
        }
    }

    fn key(&self) -> Result<DiagnosisKey, JsonProblem> {
        let header = self.header.header()?;
        let key = self.ill_key(header.code())?;
        let report_type = ReportType::ALL.into_iter().find(|known| known.name() == self.report_type);
        Ok(DiagnosisKey {
            destination: diagnosis::destination(&header, &key)?,
            issuer: self.issuer.parse().map_err(|_| wrong_text("issuer", &self.issuer, ISSUER))?,
            key,
            report_type: report_type
                .ok_or_else(|| wrong_text("report_type", &self.report_type, REPORT_TYPE))?,
            onset: self.days_since_onset.map(OnsetDays::new).transpose()?,
            transmission_risk: TransmissionRisk::new(self.transmission_risk_level)?,
        })
    }

    fn ill_key(&self, code: u8) -> Result<IllKey, JsonProblem> {
        let window = RollingWindow::new(self.rolling_start, self.rolling_period)?;
        let octets = self.key.octets();
        let must = "32 octets for code 16, 16 octets for code 128";
        let hidden = |_| JsonProblem::Hidden { field: "key", must };
        if code == IllKey::SIMPLE_CODE {
            return Ok(IllKey::simple(SimpleKey::new(octets.try_into().map_err(hidden)?)?, window)?);
        }
        Ok(IllKey::Gaen(GaenKey::new(octets.try_into().map_err(hidden)?)?, window))
    }
}

fn not_json(error: &serde_json::Error) -> JsonProblem {
    JsonProblem::NotJson { line: error.line(), column: error.column() }
}
