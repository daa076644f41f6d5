//! What has been told: the steps of the story, each with who did what, who knows what by now, and what was checked.

use std::time::Instant;

use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

/// Letters of the longest line that is printed.
const WIDTH: usize = 110;

/// The four phases of Herald's interoperability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Phones meet.
    Meeting = 1,
    /// A case is confirmed, and its phone uploads.
    Case = 2,
    /// Country sends to country.
    Crossing = 3,
    /// A phone recognises itself, or its country does, and adds its risk.
    Recognition = 4,
}

/// One step of the story.
#[derive(Debug, Clone)]
pub struct Step {
    name: &'static str,
    chapter: &'static str,
    phase: Phase,
    who: String,
    what: String,
    knows: Vec<(String, String)>,
    checks: Vec<(String, Held)>,
    seconds: f64,
}

/// Whether a check held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Yes,
    No,
}

/// The story so far.
pub struct Told {
    began: Instant,
    aloud: Aloud,
    chapter: &'static str,
    steps: Vec<Step>,
}

/// Whether steps are printed as they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aloud {
    /// On standard output.
    Yes,
    /// They are only kept.
    No,
}

impl Phase {
    /// Its number, 1 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    fn name(self) -> &'static str {
        match self {
            Self::Meeting => "phones meet",
            Self::Case => "a case uploads",
            Self::Crossing => "country to country",
            Self::Recognition => "recognition",
        }
    }
}

impl Told {
    /// Nothing yet; the time runs.
    #[must_use]
    pub fn new(aloud: Aloud) -> Self {
        Self { began: Instant::now(), aloud, chapter: "", steps: Vec::new() }
    }

    /// Begins a chapter.
    pub fn chapter(&mut self, title: &'static str) {
        self.chapter = title;
        self.say(&format!("\n{title}"));
    }

    /// Begins a step, under a name that stays the same in every telling.
    #[must_use]
    pub fn step(&self, name: &'static str, phase: Phase, who: &str) -> Step {
        Step {
            name,
            chapter: self.chapter,
            phase,
            who: who.into(),
            what: String::new(),
            knows: Vec::new(),
            checks: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Ends a step.
    pub fn end(&mut self, mut step: Step) {
        step.seconds = self.seconds();
        self.say(&step.text());
        self.steps.push(step);
    }

    /// Says something that is no step.
    pub fn say(&self, text: &str) {
        if self.aloud == Aloud::Yes {
            println!("{text}");
        }
    }

    /// All steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Seconds since the beginning.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let millis = u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX);
        f64::from(millis) / 1_000.0
    }

    /// Whether every step holds, and there is one.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(Step::holds)
    }
}

impl Step {
    /// Says what happened.
    #[must_use]
    pub fn what(mut self, text: impl Into<String>) -> Self {
        self.what = text.into();
        self
    }

    /// Says what somebody knows by now.
    #[must_use]
    pub fn knows(mut self, party: &str, what: impl Into<String>) -> Self {
        self.knows.push((party.into(), what.into()));
        self
    }

    /// Notes something that must be so.
    #[must_use]
    pub fn check(mut self, fact: &str, is_so: impl Into<Fact>) -> Self {
        let Fact { held, found } = is_so.into();
        let found = found.map(|found| format!(" ({found})")).unwrap_or_default();
        self.checks.push((format!("{fact}{found}"), held));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether everything was as it must be; a step that checks nothing shows nothing.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|(_, held)| *held == Held::Yes)
    }

    fn text(&self) -> String {
        let mut lines = Vec::new();
        let head = format!("{:5.1} s  {} {}", self.seconds, self.phase.number(), self.phase.name());
        lines.push(format!("{head:<32}{}", self.who));
        let indented = |mark: &str, text: &str| {
            let (first, rest) = (format!("{:9}{mark}", ""), " ".repeat(9 + mark.chars().count()));
            let wrapped = wrap(text, WIDTH - rest.len());
            let marks = std::iter::once(first).chain(std::iter::repeat(rest));
            wrapped.into_iter().zip(marks).map(|(line, mark)| format!("{mark}{line}")).collect::<Vec<_>>()
        };
        lines.extend(indented("", &self.what));
        lines.extend(self.knows.iter().flat_map(|(party, what)| indented("- ", &format!("{party}: {what}"))));
        for (fact, held) in &self.checks {
            let text = if *held == Held::Yes { fact.clone() } else { format!("DOES NOT HOLD: {fact}") };
            lines.extend(indented(if *held == Held::Yes { "\u{2713} " } else { "\u{2717} " }, &text));
        }
        lines.join("\n")
    }
}

/// Parts a text into lines of at most so many letters, at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Whether something is so, and what was found if not.
pub struct Fact {
    held: Held,
    found: Option<String>,
}

impl From<bool> for Fact {
    fn from(is_so: bool) -> Self {
        Self { held: if is_so { Held::Yes } else { Held::No }, found: None }
    }
}

impl Fact {
    /// That two things are the same; if not, both are shown.
    pub fn same<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(found: &T, wanted: &U) -> Self {
        let is_so = found == wanted;
        let found = (!is_so).then(|| format!("found {found:?}, not {wanted:?}"));
        Self { found, ..is_so.into() }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let knows: serde_json::Map<String, Value> =
            self.knows.iter().map(|(party, what)| (party.clone(), what.clone().into())).collect();
        let checks: Vec<_> = self
            .checks
            .iter()
            .map(|(fact, held)| json!({"fact": fact, "holds": *held == Held::Yes}))
            .collect();
        json!({
            "step": self.name,
            "chapter": self.chapter,
            "phase": self.phase.number(),
            "who": self.who,
            "what": self.what,
            "knows": knows,
            "checks": checks,
            "holds": self.holds(),
            "seconds": self.seconds,
        })
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_holds_if_every_step_does() {
        let mut told = Told::new(Aloud::No);
        assert!(!told.holds(), "nothing was told");
        let good = told.step("one", Phase::Meeting, "A, B").what("they meet").check("they do", true);
        told.end(good);
        assert!(told.holds());
        let bad = told.step("two", Phase::Case, "A").check("three", Fact::same(&2, &3));
        assert!(bad.text().contains("DOES NOT HOLD: three (found 2, not 3)"), "{}", bad.text());
        told.end(bad);
        assert!(!told.holds());
    }

    #[test]
    fn a_step_that_checks_nothing_does_not_hold() {
        assert!(!Told::new(Aloud::No).step("one", Phase::Meeting, "A").what("something").holds());
    }

    #[test]
    fn lines_are_parted_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("longer than that", 3), ["longer", "than", "that"]);
        assert_eq!(wrap("", 3), [""]);
    }

    #[test]
    fn a_step_is_an_object_for_machines() {
        let told = Told::new(Aloud::No);
        let step = told.step("one", Phase::Crossing, "A").what("x").knows("B", "y").check("z", true);
        let value = serde_json::to_value(&step).unwrap();
        assert_eq!(value["step"], "one");
        assert_eq!(value["phase"], 3);
        assert_eq!(value["knows"]["B"], "y");
        assert_eq!(value["holds"], true);
        assert_eq!(value["checks"][0]["fact"], "z");
    }
}
