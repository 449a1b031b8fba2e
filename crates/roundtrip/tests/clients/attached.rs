//! All rows, by group.

mod browser;
mod machines;
mod names;
mod ordinary;
mod probes;
mod rates;
mod web;

use crate::play::Group;

/// A group, a test for each of its rows and one for the run as a whole.
macro_rules! group {
    ($group:expr; $($name:ident: $row:expr,)*) => {
        /// The group.
        pub(super) const GROUP: crate::play::Group =
            crate::play::Group { rows: &[$((stringify!($name), $row)),*], ..$group };

        /// The group's run, made when first asked for.
        fn played() -> &'static crate::play::Played {
            static PLAYED: std::sync::OnceLock<crate::play::Played> = std::sync::OnceLock::new();
            PLAYED.get_or_init(|| crate::play::play(module_path!().rsplit("::").next().unwrap(), &GROUP))
        }

        $(#[test]
        fn $name() {
            crate::play::judge(&GROUP, played(), stringify!($name));
        })*

        #[test]
        fn the_run_is_clean_under_tshark() {
            crate::play::judge_run(played());
        }
    };
}
use group;

/// All groups in the order of the page, with their headings.
pub(crate) const GROUPS: &[(&str, Group)] = &[
    ("The web", web::GROUP),
    ("A browser", browser::GROUP),
    ("Names", names::GROUP),
    ("Ways and ports", probes::GROUP),
    ("Rates", rates::GROUP),
    ("Between machines", machines::GROUP),
    ("Without any rights", ordinary::GROUP),
];
