//! One chart: a title, axes with units and ticks, a legend, and the mapping from data to pixels. Whole numbers throughout.

use super::svg::{Anchor, Px, Svg, px};

/// Pixels across.
pub(crate) const WIDTH: u32 = 1000;
/// Pixels down.
pub(crate) const HEIGHT: u32 = 600;
/// Tenths of a pixel: the plot area.
const LEFT: Px = 860;
const RIGHT: Px = 9_800;
/// Where a second axis needs room.
const RIGHT_OF_TWO: Px = 9_050;
const TOP: Px = 660;

/// What an axis counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Bytes,
    /// Sequence numbers, written out.
    Seq,
    /// Anything that is counted.
    Count,
}

/// A range of data on a range of pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scale {
    low: u64,
    high: u64,
    from: Px,
    to: Px,
}

impl Scale {
    fn new(low: u64, high: u64, from: Px, to: Px) -> Scale {
        Scale { low, high: high.max(low + 1), from, to }
    }

    /// Where a value is drawn; values outside stand at the edge.
    pub(crate) fn at(&self, value: u64) -> Px {
        let part = i128::from(value.clamp(self.low, self.high) - self.low);
        let all = i128::from(self.high - self.low);
        let pixels = i128::from(self.to - self.from);
        self.from + Px::try_from(part * pixels / all).unwrap_or(0)
    }

    /// Whether a value lies on it.
    pub(crate) fn holds(&self, value: u64) -> bool {
        value >= self.low && value <= self.high
    }
}

/// The points of a step curve between two instants, with the value that holds at the first.
pub(crate) fn within(points: &[(u64, u64)], (from, to): (u64, u64)) -> Vec<(u64, u64)> {
    let before = points.partition_point(|p| p.0 < from);
    let held = before.checked_sub(1).map(|i| (from, points[i].1));
    let held = held.filter(|_| points.get(before).is_none_or(|p| p.0 > from));
    held.into_iter().chain(points[before..].iter().copied().take_while(|p| p.0 <= to)).collect()
}

/// What goes above and beside the data.
#[derive(Clone, Debug, Default)]
pub(crate) struct Words {
    /// What is drawn.
    pub(crate) title: String,
    /// Between whom, and what helps to read it.
    pub(crate) subtitle: String,
    /// Beside the y axis.
    pub(crate) y: String,
}

/// A chart under construction.
pub(crate) struct Chart {
    pub(crate) svg: Svg,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
    bottom: Px,
    right: Px,
    legend: Vec<(String, &'static str, &'static str)>,
}

impl Chart {
    /// Axes for time from `start` to `end` (nanoseconds of the run) and values from `low` to `high`.
    pub(crate) fn new(words: &Words, (start, end): (u64, u64), (low, high): (u64, u64), unit: Unit) -> Chart {
        Chart::sized(words, (start, end), (low, high), unit, (HEIGHT, RIGHT))
    }

    /// The same for something that is counted, `height` pixels high, with room for a second axis.
    pub(crate) fn of_two(words: &Words, span: (u64, u64), high: u64, height: u32) -> Chart {
        Chart::sized(words, span, (0, high), Unit::Count, (height, RIGHT_OF_TWO))
    }

    fn sized(
        words: &Words,
        (start, end): (u64, u64),
        (low, high): (u64, u64),
        unit: Unit,
        (height, right): (u32, Px),
    ) -> Chart {
        let bottom = Px::from(height) * 10 - 760;
        let mut svg = Svg::default();
        svg.text("title", (160, 260), Anchor::Start, &words.title);
        svg.text("soft", (160, 460), Anchor::Start, &words.subtitle);
        svg.text_up("soft", (190, (TOP + bottom) / 2), &words.y);
        let x = Scale::new(start, end, LEFT, right);
        let y = Scale::new(low, high, bottom, TOP);
        let mut chart = Chart { svg, x, y, bottom, right, legend: Vec::new() };
        chart.axes(unit);
        chart
    }

    fn axes(&mut self, unit: Unit) {
        let span = self.x.high - self.x.low;
        let (step, divide, name) = time_step(span);
        let mut at = self.x.low.div_ceil(step) * step;
        while at <= self.x.high {
            let x = self.x.at(at);
            self.svg.line("grid", (x, TOP), (x, self.bottom));
            self.svg.line("axis", (x, self.bottom), (x, self.bottom + 50));
            self.svg.text("small soft", (x, self.bottom + 180), Anchor::Middle, &decimal(at, divide, step));
            at += step;
        }
        let name = format!("time of the run ({name})");
        self.svg.text("soft", ((LEFT + self.right) / 2, self.bottom + 360), Anchor::Middle, &name);
        let step = nice_step((self.y.high - self.y.low).max(1), 8, if unit == Unit::Time { 1000 } else { 1 });
        let (divide, suffix) = match unit {
            Unit::Time => (time_step(self.y.high).1, time_step(self.y.high).2),
            Unit::Bytes => byte_unit(self.y.high),
            Unit::Seq | Unit::Count => (1, ""),
        };
        let mut at = self.y.low.div_ceil(step) * step;
        while at <= self.y.high {
            let y = self.y.at(at);
            self.svg.line("grid", (LEFT, y), (self.right, y));
            let text = format!("{} {suffix}", decimal(at, divide, step));
            self.svg.text("small soft", (LEFT - 60, y + 40), Anchor::End, text.trim_end());
            at += step;
        }
        self.svg.rect("frame", (LEFT, TOP), (self.right - LEFT, self.bottom - TOP), "");
    }

    /// A second scale at the right edge: bytes from 0 to `high`, in the unit of the axis or not.
    pub(crate) fn right_axis(&mut self, high: u64, words: &str) -> Scale {
        let scale = Scale::new(0, high, self.bottom, TOP);
        let step = nice_step(high.max(1), 8, 1);
        let (divide, suffix) = byte_unit(high);
        let mut at = 0;
        while at <= high {
            let y = scale.at(at);
            self.svg.line("axis", (self.right, y), (self.right + 40, y));
            let text = format!("{} {suffix}", decimal(at, divide, step));
            self.svg.text("small soft", (self.right + 60, y + 40), Anchor::Start, &text);
            at += step;
        }
        self.svg.text_up("soft", (9_880, (TOP + self.bottom) / 2), words);
        scale
    }

    /// Steps on a scale of [`Self::right_axis`].
    pub(crate) fn steps_right(&mut self, class: &str, scale: Scale, points: &[(u64, u64)], until: u64) {
        let own = std::mem::replace(&mut self.y, scale);
        self.steps(class, points, until);
        self.y = own;
    }

    /// A line of the legend: its mark is drawn with `class`, as a line or as `shape` says.
    pub(crate) fn key(&mut self, class: &str, shape: &'static str, text: &'static str) {
        if !self.legend.iter().any(|(_, _, t)| *t == text) {
            self.legend.push((class.to_string(), shape, text));
        }
    }

    /// Steps from point to point: the value holds until the next. Points that fall onto the same pixel are one; what lies
    /// beside the chart is not drawn.
    pub(crate) fn steps(&mut self, class: &str, points: &[(u64, u64)], until: u64) {
        let points = &within(points, (self.x.low, self.x.high));
        let mut data = String::new();
        let mut last: Option<(Px, Px)> = None;
        let mut thinned = Vec::new();
        thin(&self.x, &self.y, points, &mut thinned);
        for (x, y) in thinned {
            match last {
                None => data += &format!("M{} {}", px(x), px(y)),
                Some((_, before)) if before == y => {}
                Some((before, _)) if before == x => data += &format!("V{}", px(y)),
                Some(_) => data += &format!("H{}V{}", px(x), px(y)),
            }
            last = Some((x, y));
        }
        if last.is_some() {
            data += &format!("H{}", px(self.x.at(until)));
        }
        self.svg.path(&format!("l {class}"), &data, "");
    }

    /// Short vertical bars; bars that fall onto the same pixels are drawn once.
    pub(crate) fn bars(&mut self, class: &str, bars: &[(u64, u64, u64)]) {
        let shown = bars.iter().filter(|(at, ..)| self.x.holds(*at));
        let mut drawn: Vec<(Px, Px, Px)> =
            shown.map(|(at, low, high)| (self.x.at(*at), self.y.at(*low), self.y.at(*high))).collect();
        drawn.sort_unstable();
        drawn.dedup();
        let data: String = drawn.iter().map(|(x, low, high)| upright(*x, *low, *high)).collect();
        self.svg.path(&format!("bar {class}"), &data, "");
    }

    /// One bar with a title.
    pub(crate) fn bar(&mut self, class: &str, (at, low, high): (u64, u64, u64), title: &str) {
        if !self.x.holds(at) {
            return;
        }
        let data = upright(self.x.at(at), self.y.at(low), self.y.at(high));
        self.svg.path(&format!("bar {class}"), &data, title);
    }

    /// Dots.
    pub(crate) fn dots(&mut self, class: &str, points: &[(u64, u64)]) {
        let mut drawn: Vec<(Px, Px)> = points
            .iter()
            .filter(|(at, _)| self.x.holds(*at))
            .map(|(at, v)| (self.x.at(*at) / 5 * 5, self.y.at(*v) / 5 * 5))
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        let data: String = drawn.iter().map(|(x, y)| format!("M{} {}h0.1", px(*x), px(*y))).collect();
        self.svg.path(&format!("dot {class}"), &data, "");
    }

    /// A cross with a title.
    pub(crate) fn cross(&mut self, class: &str, (at, value): (u64, u64), title: &str) {
        if !self.x.holds(at) {
            return;
        }
        let (x, y) = (self.x.at(at), self.y.at(value));
        let data = format!(
            "M{} {}L{} {}M{} {}L{} {}",
            px(x - 40),
            px(y - 40),
            px(x + 40),
            px(y + 40),
            px(x - 40),
            px(y + 40),
            px(x + 40),
            px(y - 40)
        );
        self.svg.path(&format!("x {class}"), &data, title);
    }

    /// The chart with its legend below.
    pub(crate) fn finish(mut self) -> Svg {
        let y = self.bottom + 590;
        let mut x = 160;
        for (class, shape, text) in std::mem::take(&mut self.legend) {
            match shape {
                "bar" => {
                    self.svg.path(
                        &format!("bar {class}"),
                        &format!("M{} {}V{}", px(x + 90), px(y - 80), px(y)),
                        "",
                    );
                }
                "dot" => {
                    self.svg.path(&format!("dot {class}"), &format!("M{} {}h0.1", px(x + 90), px(y - 40)), "")
                }
                "x" => {
                    let d = format!("M{} {}l7 7m0 -7l-7 7", px(x + 55), px(y - 75));
                    self.svg.path(&format!("x {class}"), &d, "");
                }
                _ => self.svg.line(&format!("l {class}"), (x, y - 40), (x + 180, y - 40)),
            }
            self.svg.text("small", (x + 230, y), Anchor::Start, text);
            x += 360 + Px::try_from(text.chars().count()).unwrap_or(0) * 62;
        }
        self.svg
    }
}

/// A vertical bar with a short foot and head where it is long enough for them to be seen.
fn upright(x: Px, low: Px, high: Px) -> String {
    if low - high < 50 {
        return format!("M{} {}V{}", px(x), px(low), px(high));
    }
    format!("M{} {}h6m-3 0V{}m-3 0h6", px(x - 30), px(low), px(high))
}

/// At most four points for each column of pixels: first, lowest, highest, last.
fn thin(x: &Scale, y: &Scale, points: &[(u64, u64)], out: &mut Vec<(Px, Px)>) {
    let mut column: Vec<(Px, Px)> = Vec::new();
    let flush = |column: &mut Vec<(Px, Px)>, out: &mut Vec<(Px, Px)>| {
        if column.len() > 4 {
            let low = (0..column.len()).max_by_key(|i| column[*i].1).unwrap_or(0);
            let high = (0..column.len()).min_by_key(|i| column[*i].1).unwrap_or(0);
            let mut keep = vec![0, low, high, column.len() - 1];
            keep.sort_unstable();
            keep.dedup();
            out.extend(keep.into_iter().map(|i| column[i]));
            column.clear();
        } else {
            out.append(column);
        }
    };
    for (at, value) in points {
        let point = (x.at(*at), y.at(*value));
        if column.first().is_some_and(|first| first.0 / 5 != point.0 / 5) {
            flush(&mut column, out);
        }
        column.push(point);
    }
    flush(&mut column, out);
}

/// The tick distance on an axis of time, what to divide by, and the unit's name.
fn time_step(span: u64) -> (u64, u64, &'static str) {
    let divide = match span {
        0..2_000_000 => 1_000,
        2_000_000..2_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    (nice_step(span.max(1), 10, 1), divide, time_name(divide))
}

fn time_name(divide: u64) -> &'static str {
    match divide {
        1_000 => "us",
        1_000_000 => "ms",
        _ => "s",
    }
}

fn byte_unit(high: u64) -> (u64, &'static str) {
    match high {
        0..10_000 => (1, "B"),
        10_000..10_000_000 => (1_000, "kB"),
        _ => (1_000_000, "MB"),
    }
}

/// The smallest of 1, 2, 5 times a power of ten, at least `least`, of which `span` holds at most `count`.
fn nice_step(span: u64, count: u64, least: u64) -> u64 {
    let mut power = 1u64;
    loop {
        for times in [1, 2, 5] {
            let step = power.saturating_mul(times);
            if step >= least && span / step <= count {
                return step;
            }
        }
        if power > u64::MAX / 10 {
            return span.max(1);
        }
        power *= 10;
    }
}

/// `value / divide` with as many decimals as a tick distance of `step` needs, and thousands set apart.
fn decimal(value: u64, divide: u64, step: u64) -> String {
    let mut digits = 0;
    let (mut unit, mut scale) = (divide, 1);
    while unit > step && unit >= 10 {
        unit /= 10;
        scale *= 10;
        digits += 1;
    }
    let scaled = value / unit.max(1);
    let whole = grouped(scaled / scale);
    if digits == 0 { whole } else { format!("{whole}.{:0digits$}", scaled % scale) }
}

/// `12,345`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{
        Chart, HEIGHT, Scale, Svg, Unit, WIDTH, Words, decimal, grouped, nice_step, thin, time_step,
    };

    #[test]
    fn ticks_are_few_and_round() {
        assert_eq!([nice_step(9, 10, 1), nice_step(11, 10, 1), nice_step(73_000, 8, 1)], [1, 2, 10_000]);
        assert_eq!(nice_step(0, 8, 1000), 1000);
        assert_eq!(time_step(241_306_198), (50_000_000, 1_000_000, "ms"));
        assert_eq!(nice_step(u64::MAX, 1, 1), 10_000_000_000_000_000_000);
    }

    #[test]
    fn numbers_have_the_decimals_that_the_ticks_need() {
        assert_eq!(decimal(1_500_000, 1_000_000, 500_000), "1.5");
        assert_eq!(decimal(2_000_000, 1_000_000, 1_000_000), "2");
        assert_eq!(decimal(1_234_567, 1, 1), "1,234,567");
        assert_eq!([grouped(0), grouped(999), grouped(1000)], ["0", "999", "1,000"]);
    }

    #[test]
    fn a_scale_keeps_order_and_ends() {
        let scale = Scale::new(100, 200, 0, 1000);
        assert_eq!(
            [scale.at(0), scale.at(100), scale.at(150), scale.at(200), scale.at(900)],
            [0, 0, 500, 1000, 1000]
        );
        assert_eq!(Scale::new(5, 5, 0, 10).at(5), 0);
        assert_eq!(Scale::new(0, u64::MAX, 0, 10).at(u64::MAX), 10);
    }

    #[test]
    fn a_small_chart() {
        let words = Words { title: "Title".into(), subtitle: "a → b".into(), y: "bytes".into() };
        let mut chart = Chart::new(&words, (0, 10_000_000), (0, 3_000), Unit::Bytes);
        chart.bar("blue", (1_000_000, 0, 1_000), "segment 0..1,000");
        chart.bars("teal", &[(2_000_000, 1_000, 2_000), (2_000_000, 1_000, 2_000)]);
        chart.cross("red", (3_000_000, 2_000), "never arrived");
        chart.steps("green", &[(1_000_000, 0), (4_000_000, 1_000), (4_000_000, 2_000)], 10_000_000);
        chart.dots("grey", &[(5_000_000, 500)]);
        chart.key("blue", "bar", "segment");
        chart.key("red", "x", "never arrived");
        let mut all = Svg::default();
        all.group_at(0, chart.finish());
        insta::assert_snapshot!(all.document(WIDTH, HEIGHT));
    }

    #[test]
    fn thinning_keeps_the_extremes_of_each_column() {
        let points: Vec<(u64, u64)> = (0..10_000).map(|i| (i, if i == 5_003 { 99 } else { i % 7 })).collect();
        let (x, y) = (Scale::new(0, 10_000, 0, 1000), Scale::new(0, 100, 1000, 0));
        let mut out = Vec::new();
        thin(&x, &y, &points, &mut out);
        assert!(out.len() <= 201 * 4, "{}", out.len());
        assert!(out.iter().any(|p| p.1 == y.at(99)));
    }
}
