//! Real temperatures for devices to report: hourly air temperatures in Seattle, January 2010 (NOAA, public domain).

const FILE: &str = include_str!("../data/seattle-2010-01.csv");

/// The temperatures in tenths of a degree Celsius, in the order of the hours.
pub fn temperatures_dc() -> Vec<i16> {
    let lines = FILE.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.split_once(',')?.1.parse::<f64>().ok());
    values
        .map(|fahrenheit| ((fahrenheit - 32.0) * 50.0 / 9.0).round() as i16)
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_month_of_plausible_winter_temperatures() {
        let values = super::temperatures_dc();
        assert_eq!(values.len(), 31 * 24);
        assert!(values.iter().all(|dc| (-100..=200).contains(dc)));
        assert_eq!(values[0], 41, "39.4 F is 4.1 C");
    }
}
