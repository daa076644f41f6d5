//! Distance and risk as Herald's libraries compute them: samples by their authors, here to compare with phones that
//! report them. **Not epidemiologically validated**, and nothing of this goes into a subtotal (`herald.md` 8).

/// `FowlerBasic`: a distance from the RSSI that was measured most often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FowlerBasic {
    /// RSSI at one metre.
    pub intercept: f64,
    /// RSSI that is lost with each power of ten of the distance.
    pub coefficient: f64,
}

impl Default for FowlerBasic {
    fn default() -> Self {
        Self { intercept: -11.0, coefficient: -0.4 }
    }
}

impl FowlerBasic {
    /// Metres; none without a reading from -99 to -10 dBm.
    #[must_use]
    pub fn metres(&self, readings: &[i16]) -> Option<f64> {
        let valid: Vec<_> = readings.iter().copied().filter(|rssi| (-99..=-10).contains(rssi)).collect();
        let about = f64::from(mode(&valid)?);
        let reach = 2.0 * variance(&valid).sqrt();
        let near: Vec<_> =
            valid.into_iter().filter(|rssi| (f64::from(*rssi) - about).abs() <= reach).collect();
        let mode = f64::from(mode(&near)?);
        Some(10_f64.powf((mode - self.intercept) / self.coefficient))
    }
}

/// The value that is there most often; of several, the largest.
#[must_use]
pub fn mode(readings: &[i16]) -> Option<i16> {
    let count = |rssi: i16| readings.iter().filter(|other| **other == rssi).count();
    readings.iter().copied().max_by_key(|rssi| (count(*rssi), *rssi))
}

/// Their mean; 0 of none.
#[must_use]
pub fn mean(readings: &[i16]) -> f64 {
    let count = u32::try_from(readings.len()).unwrap_or(u32::MAX).max(1);
    readings.iter().map(|rssi| f64::from(*rssi)).sum::<f64>() / f64::from(count)
}

/// Their sample variance; 0 of fewer than two.
#[must_use]
pub fn variance(readings: &[i16]) -> f64 {
    let mean = mean(readings);
    let squares: f64 = readings.iter().map(|rssi| (f64::from(*rssi) - mean).powi(2)).sum();
    let degrees = u32::try_from(readings.len()).unwrap_or(u32::MAX).saturating_sub(1);
    if degrees == 0 { 0.0 } else { squares / f64::from(degrees) }
}

/// RSSI-minutes of the C++ library: 100 and the mean RSSI of each minute, summed up. Readings are Unix times and dBm.
#[must_use]
pub fn rssi_minutes(readings: &[(u64, i16)]) -> f64 {
    let mut minutes = std::collections::BTreeMap::<u64, Vec<i16>>::new();
    for (at, rssi) in readings.iter().filter(|(_, rssi)| (-99..=-10).contains(rssi)) {
        minutes.entry(at / 60).or_default().push(*rssi);
    }
    minutes.values().map(|minute| 100.0 + mean(minute)).sum()
}

/// `SampleDiseaseScreening` of the C++ library for one window: RSSI-minutes, times the age, and twice that in the dark.
#[must_use]
pub fn disease_score(age: u32, rssi_minutes: f64, max_light: f64) -> f64 {
    let multiplier = if max_light > 0.0 && max_light < 30.0 { 2.0 } else { 1.0 };
    multiplier * f64::from(age) * rssi_minutes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::herald::secured::vectors::one;

    fn close(found: f64, expected: &serde_json::Value) -> bool {
        (found - expected.as_f64().unwrap()).abs() < 0.000_5
    }

    #[test]
    fn the_distance_is_the_published_one() {
        let vector = one("distance-fowler");
        let samples = vector.inputs["samples"].as_array().unwrap();
        let readings: Vec<_> = samples
            .iter()
            .map(|sample| (sample[0].as_u64().unwrap(), i16::try_from(sample[1].as_i64().unwrap()).unwrap()))
            // As the library's test leaves out, before it asks for a distance.
            .filter(|(at, rssi)| *at >= 1_245 && *rssi < -59)
            .map(|(_, rssi)| rssi)
            .collect();
        let valid: Vec<_> = readings.iter().copied().filter(|rssi| *rssi >= -99).collect();
        assert!(close(mean(&valid), &vector.expected["mean"]));
        assert_eq!(i64::from(mode(&valid).unwrap()), vector.expected["mode"].as_i64().unwrap());
        assert!(close(variance(&valid), &vector.expected["sample_variance"]));
        let [intercept, coefficient] =
            ["intercept", "coefficient"].map(|name| vector.inputs[name].as_f64().unwrap());
        let metres = FowlerBasic { intercept, coefficient }.metres(&readings).unwrap();
        assert!(close(metres, &vector.expected["distance"]), "{metres}");
    }

    #[test]
    fn a_distance_needs_a_reading_and_leaves_outliers_out() {
        let model = FowlerBasic { intercept: -50.0, coefficient: -24.0 };
        assert_eq!(model.metres(&[]), None);
        assert_eq!(model.metres(&[-100, -9, 127]), None);
        assert_eq!(mode(&[-68, -62, -68, -62]), Some(-62), "of several the largest");
        assert!((model.metres(&[-74]).unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn rssi_minutes_are_the_published_ones() {
        let vector = one("exposure-rssi-minutes");
        let rssi = i16::try_from(vector.inputs["rssi"].as_i64().unwrap()).unwrap();
        let minutes = vector.inputs["minutes"].as_array().unwrap();
        let expected = vector.expected["exposure"].as_array().unwrap();
        assert_eq!(minutes.len(), expected.len());
        for (minutes, expected) in minutes.iter().zip(expected) {
            let readings: Vec<_> =
                (0..minutes.as_u64().unwrap() * 60).step_by(10).map(|at| (at, rssi)).collect();
            assert!(close(rssi_minutes(&readings), expected));
        }
        assert!(close(rssi_minutes(&[(0, 0), (1, 127)]), &0.into()), "no valid reading");
    }

    #[test]
    fn the_sample_of_a_disease_gives_the_published_scores() {
        let vector = one("risk-sample-disease");
        let age = u32::try_from(vector.number("age")).unwrap();
        let windows = vector.inputs["windows"].as_array().unwrap();
        let expected = vector.expected["scores"].as_array().unwrap();
        assert_eq!(windows.len(), expected.len());
        let mut total = 0.0;
        for (window, expected) in windows.iter().zip(expected) {
            let [minutes, light] = ["rssi_minutes", "max_light"].map(|name| window[name].as_f64().unwrap());
            let score = disease_score(age, minutes, light);
            assert!(close(score, expected), "{score}");
            total += score;
        }
        assert!(close(total, &vector.expected["total"]));
        assert!(close(disease_score(21, 90.0, 0.0), &1_890.into()), "no light was measured");
    }
}
