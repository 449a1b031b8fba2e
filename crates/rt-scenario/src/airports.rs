//! The airport near each known city (IATA) and the country it lies in (ISO 3166): how CDNs name their places.

/// City, airport, country; the cities of `cities`.
const AIRPORTS: &[(&str, &str, &str)] = &[
    ("amsterdam", "AMS", "NL"),
    ("ashburn", "IAD", "US"),
    ("athens", "ATH", "GR"),
    ("atlanta", "ATL", "US"),
    ("auckland", "AKL", "NZ"),
    ("bangalore", "BLR", "IN"),
    ("berlin", "BER", "DE"),
    ("cairo", "CAI", "EG"),
    ("capetown", "CPT", "ZA"),
    ("chicago", "ORD", "US"),
    ("copenhagen", "CPH", "DK"),
    ("dallas", "DFW", "US"),
    ("denver", "DEN", "US"),
    ("dubai", "DXB", "AE"),
    ("dublin", "DUB", "IE"),
    ("frankfurt", "FRA", "DE"),
    ("hamburg", "HAM", "DE"),
    ("helsinki", "HEL", "FI"),
    ("hongkong", "HKG", "HK"),
    ("johannesburg", "JNB", "ZA"),
    ("lagos", "LOS", "NG"),
    ("lisbon", "LIS", "PT"),
    ("london", "LHR", "GB"),
    ("losangeles", "LAX", "US"),
    ("madrid", "MAD", "ES"),
    ("marseille", "MRS", "FR"),
    ("melbourne", "MEL", "AU"),
    ("mexicocity", "MEX", "MX"),
    ("miami", "MIA", "US"),
    ("milan", "MXP", "IT"),
    ("montreal", "YUL", "CA"),
    ("mumbai", "BOM", "IN"),
    ("munich", "MUC", "DE"),
    ("nairobi", "NBO", "KE"),
    ("newyork", "EWR", "US"),
    ("oslo", "OSL", "NO"),
    ("paris", "CDG", "FR"),
    ("prague", "PRG", "CZ"),
    ("rome", "FCO", "IT"),
    ("santiago", "SCL", "CL"),
    ("saopaulo", "GRU", "BR"),
    ("seattle", "SEA", "US"),
    ("seoul", "ICN", "KR"),
    ("singapore", "SIN", "SG"),
    ("stockholm", "ARN", "SE"),
    ("sydney", "SYD", "AU"),
    ("telaviv", "TLV", "IL"),
    ("tokyo", "NRT", "JP"),
    ("toronto", "YYZ", "CA"),
    ("vienna", "VIE", "AT"),
    ("warsaw", "WAW", "PL"),
    ("zurich", "ZRH", "CH"),
];

/// The airport's code; the place's first three letters where the city is not known.
pub(crate) fn airport(place: &str) -> String {
    let made = || place.chars().filter(char::is_ascii_alphabetic).take(3).collect::<String>().to_uppercase();
    find(place).map_or_else(made, |(airport, _)| airport.to_owned())
}

/// The country, if the city is known.
pub(crate) fn country(place: &str) -> Option<&'static str> {
    find(place).map(|(_, country)| country)
}

fn find(place: &str) -> Option<(&'static str, &'static str)> {
    let index = AIRPORTS.binary_search_by(|(name, ..)| (*name).cmp(place)).ok()?;
    Some((AIRPORTS[index].1, AIRPORTS[index].2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_city_has_an_airport_and_a_country() {
        assert!(AIRPORTS.iter().map(|(name, ..)| *name).eq(crate::cities::names()));
        assert_eq!((airport("tokyo"), country("tokyo")), ("NRT".to_owned(), Some("JP")));
        assert_eq!((airport("new-place"), country("new-place")), ("NEW".to_owned(), None));
    }
}
