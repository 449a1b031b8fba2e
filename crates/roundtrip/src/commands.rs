//! One function per command: asks `rt-lab`, returns what goes to stdout and stderr, and the exit code.

use std::path::Path;

use rt_lab::{
    CanQuery, Comments, DrillQuery, FollowQuery, IpQuery, MatrixQuery, PlotKind, PlotQuery, Protocol,
    Refusal, RunOptions, Scenario, ShowFormat, Side, TableKind, TablesQuery,
};
use serde_json::json;

use crate::args::{
    Args, Command, CommentChoice, ExpectArg, Format, ImportFrom, PlotChoice, ProtocolArg, SideChoice,
    TableChoice,
};
use crate::{attach, progress};

/// What a command has to say.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// For stdout.
    pub(crate) data: String,
    /// For stderr, line by line.
    pub(crate) talk: Vec<String>,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Answer {
    fn yes(data: String) -> Answer {
        Answer { data, ..Answer::default() }
    }

    fn unanswered(talk: String) -> Answer {
        Answer { talk: vec![talk], exit: 2, ..Answer::default() }
    }
}

/// Carries a command out.
pub(crate) fn answer(args: &Args) -> Answer {
    let json = args.format == Format::Json;
    let matrix = matches!(args.command, Command::Can { matrix: true, .. });
    if args.format == Format::Html && !matrix {
        return Answer::unanswered("only `can --matrix` makes a page with --format html".into());
    }
    let only_show = matches!(args.format, Format::Mermaid | Format::Dot);
    if only_show && !matches!(args.command, Command::Show { .. }) {
        return Answer::unanswered("only `show` draws with --format mermaid or dot".into());
    }
    let result = match &args.command {
        Command::List => Ok(list(json)),
        Command::New { template, file } => new(template, file.as_deref(), json),
        Command::Check { scenario } => check(scenario, json),
        Command::Show { scenario, at, table, time, .. } if !at.is_empty() => {
            tables(scenario, (at, table, time.as_deref()), args.format)
        }
        Command::Show { scenario, expanded, .. } => show(scenario, *expanded, args.format),
        Command::Run { .. } => run(&args.command, json),
        Command::Exec { .. } => attach::exec(&args.command),
        Command::Up { .. } => attach::up(&args.command),
        Command::Replay { .. } => attach::replay(&args.command, json),
        Command::Follow { run, request, packet, at, connection } => {
            let (request, connection) = (request.clone(), connection.clone());
            let query = FollowQuery { request, packet: *packet, at: at.clone(), connection };
            follow(run, &query, json)
        }
        Command::Plot { .. } => plot(&args.command, json),
        Command::Can { .. } => can(&args.command, args.format),
        Command::Drill { .. } => drill(&args.command, json),
        Command::Diff { a, b, seed } => diff(a, b, *seed, json),
        Command::Ip { .. } => ip(&args.command, json),
        Command::Import { from: ImportFrom::Terraform { plan, out } } => import(plan, out.as_deref(), json),
        Command::Schema { which } => Ok(Answer::yes(rt_lab::schema(which))),
    };
    result.unwrap_or_else(|refusal| refused(&refusal, json))
}

fn refused(refusal: &Refusal, json: bool) -> Answer {
    let mut answer = Answer::unanswered(refusal.to_string());
    answer.exit = refusal.exit_code();
    if json {
        answer.data = pretty(&json!({ "ok": false, "problems": refusal.to_json() }));
    }
    answer
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

fn list(json: bool) -> Answer {
    let shipped = rt_lab::shipped();
    if json {
        let rows: Vec<_> = shipped.iter().map(|s| json!({ "name": s.name, "about": s.about })).collect();
        return Answer::yes(pretty(&json!(rows)));
    }
    let width = shipped.iter().map(|s| s.name.len()).max().unwrap_or(0);
    let lines: String = shipped.iter().map(|s| format!("{:width$}  {}\n", s.name, s.about)).collect();
    Answer::yes(lines)
}

fn new(template: &str, file: Option<&Path>, json: bool) -> Result<Answer, Refusal> {
    let text = rt_lab::template(template)?;
    let Some(path) = file else {
        let data =
            if json { pretty(&json!({ "template": template, "text": text })) } else { text.to_owned() };
        return Ok(Answer::yes(data));
    };
    rt_lab::write_new(path, text)?;
    let said = format!("wrote {}; run it with: roundtrip run {}", path.display(), path.display());
    let data =
        if json { pretty(&json!({ "ok": true, "file": path.display().to_string() })) } else { String::new() };
    Ok(Answer { data, talk: vec![said], exit: 0 })
}

fn check(source: &str, json: bool) -> Result<Answer, Refusal> {
    let scenario = Scenario::load(source)?;
    let facts = scenario.facts();
    if json {
        return Ok(Answer::yes(pretty(
            &json!({ "ok": true, "problems": scenario.warnings_json(), "facts": facts }),
        )));
    }
    let talk = scenario.warnings_text();
    Ok(Answer { data: format!("{}: in order ({facts})\n", scenario.file()), talk, exit: 0 })
}

fn show(source: &str, expanded: bool, format: Format) -> Result<Answer, Refusal> {
    let scenario = Scenario::load(source)?;
    let format = match format {
        Format::Text | Format::Html => ShowFormat::Text,
        Format::Json => ShowFormat::Json,
        Format::Mermaid => ShowFormat::Mermaid,
        Format::Dot => ShowFormat::Dot,
    };
    Ok(Answer::yes(scenario.show(format, expanded)))
}

fn tables(
    source: &str,
    (at, tables, time): (&[String], &[TableChoice], Option<&str>),
    format: Format,
) -> Result<Answer, Refusal> {
    if matches!(format, Format::Mermaid | Format::Dot | Format::Html) {
        return Ok(Answer::unanswered(
            "a table is no diagram: leave --format away, or write --format json".into(),
        ));
    }
    let kind = |choice: &TableChoice| match choice {
        TableChoice::Nat => TableKind::Nat,
        TableChoice::Conntrack => TableKind::Conntrack,
        TableChoice::Routes => TableKind::Routes,
        TableChoice::Neighbors => TableKind::Neighbors,
        TableChoice::Rules => TableKind::Rules,
    };
    let query = TablesQuery {
        at: at.to_vec(),
        tables: tables.iter().map(kind).collect(),
        time: time.map(rt_lab::parse_time).transpose()?,
    };
    let shown = rt_lab::tables(source, &query)?;
    let data = if format == Format::Json { pretty(&shown.json) } else { shown.text };
    Ok(Answer { data, talk: shown.talk, exit: 0 })
}

fn run(command: &Command, json: bool) -> Result<Answer, Refusal> {
    let Command::Run { scenario, seed, out, until, comments, quiet } = command else {
        return Ok(Answer::default());
    };
    let scenario = Scenario::load(scenario)?;
    let mut options = RunOptions::new(*seed);
    options.out = Some(out.clone().unwrap_or_else(|| rt_lab::default_out(scenario.name())));
    options.until = until.as_deref().map(rt_lab::parse_time).transpose()?;
    options.comments = comments.meant();
    options.progress = progress::watcher();
    let run = scenario.run(options)?;
    let data = match (quiet, json) {
        (true, _) => String::new(),
        (_, true) => run.story_json(),
        _ => run.story_text(),
    };
    let mut talk = scenario.warnings_text();
    if let Some(call) = scenario.programs().first() {
        let text = rt_lab::printable(&call.text()).into_owned();
        talk.push(format!("no real program takes part in a run ({text}): see roundtrip up --help"));
    }
    talk.extend(run.verdict_lines());
    Ok(Answer { data, talk, exit: u8::from(!run.passed()) })
}

impl CommentChoice {
    pub(crate) fn meant(self) -> Comments {
        match self {
            CommentChoice::All => Comments::All,
            CommentChoice::Key => Comments::Key,
            CommentChoice::None => Comments::None,
        }
    }
}

fn follow(source: &str, query: &FollowQuery, json: bool) -> Result<Answer, Refusal> {
    let followed = rt_lab::follow(source, query)?;
    Ok(Answer { data: if json { followed.json } else { followed.text }, talk: followed.talk, exit: 0 })
}

fn plot(command: &Command, json: bool) -> Result<Answer, Refusal> {
    let Command::Plot { run, flow, what, from, out } = command else { return Ok(Answer::default()) };
    let what = match what {
        PlotChoice::TimeSequence => PlotKind::TimeSequence,
        PlotChoice::Cwnd => PlotKind::Cwnd,
        PlotChoice::Rtt => PlotKind::Rtt,
        PlotChoice::Queue => PlotKind::Queue,
        PlotChoice::States => PlotKind::States,
        PlotChoice::All => PlotKind::All,
    };
    let from = from.map(|side| match side {
        SideChoice::Client => Side::Client,
        SideChoice::Server => Side::Server,
    });
    let drawn = rt_lab::plot(run, &PlotQuery { flow: flow.clone(), what, from })?;
    let mut answer = Answer { data: if json { drawn.json } else { drawn.text }, talk: drawn.talk, exit: 0 };
    if let (Some(path), Some(_)) = (out, flow) {
        rt_lab::write_over(path, &std::mem::take(&mut answer.data))?;
        answer.talk.push(format!("wrote {}", path.display()));
    }
    Ok(answer)
}

fn can(command: &Command, format: Format) -> Result<Answer, Refusal> {
    let Command::Can { scenario, from, to, matrix, port, protocol, at, expect, seed } = command else {
        return Ok(Answer::default());
    };
    let scenario = Scenario::load(scenario)?;
    let protocol = protocol.map(|p| match p {
        ProtocolArg::Tcp => Protocol::Tcp,
        ProtocolArg::Udp => Protocol::Udp,
        ProtocolArg::Icmp => Protocol::Icmp,
    });
    let at = at.as_deref().map(rt_lab::parse_time).transpose()?.unwrap_or_default();
    if *matrix {
        let (from, to, port, seed) = (from.clone(), to.clone(), *port, *seed);
        let query = MatrixQuery { from, to, port, protocol, at, seed, ..MatrixQuery::default() };
        return all_pairs(&scenario, &query, format);
    }
    let (Some(from), Some(to)) = (from, to) else {
        let why = "who asks whom? write FROM and TO, or --matrix for all pairs".to_owned();
        return Err(Refusal::Misuse { why });
    };
    let to = match port {
        None => to.clone(),
        Some(port) if !to.contains(':') => format!("{to}:{port}"),
        Some(port) => {
            let why = format!("two ports were given, behind `{to}` and by --port {port}: leave one away");
            return Err(Refusal::Misuse { why });
        }
    };
    let query = CanQuery { protocol, at, seed: *seed, ..CanQuery::new(from, &to) };
    let answers = rt_lab::can(&scenario, &query)?;
    let data = if format == Format::Json { answers.json() } else { answers.text() };
    let met = answers.are_all(*expect != Some(ExpectArg::No));
    let talk = match expect {
        Some(ExpectArg::Yes) if !met => vec!["expected yes".to_owned()],
        Some(ExpectArg::No) if !met => vec!["expected no".to_owned()],
        _ => Vec::new(),
    };
    Ok(Answer { data, talk, exit: u8::from(!met) })
}

fn all_pairs(scenario: &Scenario, query: &MatrixQuery, format: Format) -> Result<Answer, Refusal> {
    let begin = std::time::Instant::now();
    let table = rt_lab::matrix(scenario, query)?;
    let data = match format {
        Format::Json => table.json(),
        Format::Html => table.html(),
        _ => table.text(),
    };
    let (probes, took) = (table.probes, begin.elapsed().as_secs_f64());
    Ok(Answer { data, talk: vec![format!("{probes} probes in {took:.1} s")], exit: 0 })
}

fn drill(command: &Command, json: bool) -> Result<Answer, Refusal> {
    let Command::Drill {
        paths,
        personality,
        sysctl,
        tolerance,
        relaxed,
        lenient_end,
        horizon,
        check_echo,
        define,
        trace,
        pcap,
    } = command
    else {
        return Ok(Answer::default());
    };
    let query = DrillQuery {
        paths: paths.clone(),
        personality: personality.clone(),
        sysctls: sysctl.clone(),
        tolerance: tolerance.clone(),
        relaxed: *relaxed,
        lenient_end: *lenient_end,
        horizon: horizon.clone(),
        check_echo: *check_echo,
        defines: define.clone(),
        trace: *trace,
        pcap: pcap.clone(),
    };
    let drilled = rt_lab::drill(&query)?;
    let exit = drilled.exit();
    let data = if json { pretty(&drilled.json) } else { drilled.text };
    Ok(Answer { data, talk: Vec::new(), exit })
}

fn import(plan: &Path, out: Option<&Path>, json: bool) -> Result<Answer, Refusal> {
    let mut imported = rt_lab::import_terraform(plan)?;
    let mut talk = std::mem::take(&mut imported.talk);
    if let Some(path) = out {
        rt_lab::write_new(path, &imported.scenario)?;
        talk.push(format!("wrote {}; look at it with: roundtrip show {}", path.display(), path.display()));
        imported.json["scenario"] = json!(path.display().to_string());
    }
    let data = match (json, out) {
        (true, _) => pretty(&imported.json),
        (false, Some(_)) => String::new(),
        (false, None) => imported.scenario,
    };
    Ok(Answer { data, talk, exit: u8::from(!imported.runs) })
}

fn diff(a: &str, b: &str, seed: u64, json: bool) -> Result<Answer, Refusal> {
    let difference = rt_lab::diff(a, b, seed)?;
    let data = if json { difference.json() } else { difference.text() };
    Ok(Answer { data, talk: Vec::new(), exit: u8::from(!difference.same) })
}

fn ip(command: &Command, json: bool) -> Result<Answer, Refusal> {
    let Command::Ip { what, split, into, hosts, within, except, summarise } = command else {
        return Ok(Answer::default());
    };
    let query = IpQuery {
        what: what.clone(),
        split: split.clone(),
        into: *into,
        hosts: hosts.clone(),
        within: within.clone(),
        except: except.clone(),
        summarise: *summarise,
    };
    let said = rt_lab::ip(&query)?;
    let data = if json { pretty(&said.json) } else { said.text };
    Ok(Answer { data, talk: Vec::new(), exit: u8::from(said.no) })
}
