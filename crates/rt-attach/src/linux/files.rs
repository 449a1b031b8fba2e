//! The files that a guest sees: an overlay on `/etc` whose upper half is in memory, so that even `rm /etc/resolv.conf` stays
//! inside; covered sockets of name services, which would answer from the real network; trust in the simulated authorities;
//! and a home folder of its own, in memory.
//!
//! Where the kernel has no overlay for us, each file is covered by itself: it can then be read but not replaced inside.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::identity::{Identity, Map};
use super::prepare::{c, misuse, program};
use super::script::{Action, Script, Step};
use crate::{AttachError, Plan};

/// Where a guest finds what was made for it.
pub(super) const OWN: &str = "/etc/roundtrip";
/// Its home folder.
const HOME: &str = "/etc/roundtrip/home";
/// The variables set for it, each ended by a zero byte: for those who join later.
pub(super) const VARIABLES: &str = "/etc/roundtrip/environment";
/// The authority to be trusted, alone.
const AUTHORITY: &str = "/etc/roundtrip/ca.pem";

/// Path sockets are not part of a network namespace: who listens there would ask the machine's real resolver.
const NAME_SERVICES: [&str; 5] =
    ["/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/run/dbus", "/run/avahi-daemon"];

/// Bundles of authorities, by distribution.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Variables that name a bundle of authorities.
const TRUST: [&str; 5] =
    ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"];

/// Variables that would lead a program out of the simulated network, or into the real home folder.
const FORBIDDEN: [&str; 12] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "LOCALDOMAIN",
    "HOSTALIASES",
];

/// A place to prepare things before they are mounted where they belong.
struct Stage(&'static str);

impl Stage {
    /// A folder that every machine has and under which no file of the plan is, since it is covered for a moment.
    fn find(plan: &Plan) -> Result<Stage, AttachError> {
        let used = plan.files.iter().map(|f| &f.path).chain(&plan.scratch).map(|path| in_real_folder(path));
        let used: Vec<PathBuf> = used.collect();
        let free =
            |folder: &&str| Path::new(folder).is_dir() && !used.iter().any(|path| path.starts_with(folder));
        let found = ["/tmp", "/run", "/mnt", "/srv", "/var", "/home"].into_iter().find(free);
        found.map(Stage).ok_or_else(|| misuse("there is no folder to prepare files in".to_owned()))
    }

    fn path(&self, rest: &str) -> Result<CString, AttachError> {
        c(format!("{}{rest}", self.0))
    }
}

/// Adds the steps that show the plan's files; the environment of the program.
pub(super) fn add(
    script: &mut Script,
    plan: &Plan,
    identity: &Identity,
) -> Result<Vec<(OsString, OsString)>, AttachError> {
    let bundle = plan.certificate.as_ref().map(|_| bundle());
    let variables = variables(plan, identity, bundle.as_deref());
    script.must("make the mounts private", Step::PrivateMounts);
    let masked = mask(script)?;
    let stage = Stage::find(plan)?;
    tmpfs(script, "prepare files in memory", stage.0)?;
    for folder in ["/etc", "/etc/roundtrip", "/own", "/own/home"] {
        script.must("prepare a folder", Step::Folder { path: stage.path(folder)?, mode: 0o755 });
    }
    scratch(script, &stage, plan, identity, &masked)?;
    let files = wanted(plan, bundle.as_deref())?;
    let shown = stage_files(script, &stage, files)?;
    let text = pack(&variables);
    script
        .must("prepare the environment", Step::Create { path: stage.path("/own/environment")?, bytes: text });
    if let Some(pem) = &plan.certificate {
        let step = Step::Create { path: stage.path("/own/ca.pem")?, bytes: pem.clone().into_bytes() };
        script.must("prepare the certificate", step);
    }
    own(script, identity, stage.path("/own/home")?);
    show(script, &stage, &shown, &masked)?;
    if matches!(identity.map, Map::Single { .. }) && Path::new("/etc/ssh/ssh_config.d").is_dir() {
        // Root's files belong to nobody in here, which ssh does not take for a configuration.
        tmpfs(script, "hide /etc/ssh/ssh_config.d", "/etc/ssh/ssh_config.d")?;
    }
    script.must("leave the staging place", Step::Unmount { path: stage.path("")? });
    for (kind, target) in [(c"proc", c"/proc"), (c"sysfs", c"/sys")] {
        let step = Step::Mount { kind, target: target.to_owned(), options: None };
        script.may(format!("mount a fresh {} (tools see the machine's)", target.to_string_lossy()), step);
    }
    let environment = merged(&variables);
    if plan.certificate.is_some() && plan.own_home {
        browser_trust(script, identity, &environment)?;
    }
    Ok(environment)
}

fn tmpfs(script: &mut Script, words: &str, target: impl AsRef<OsStr>) -> Result<(), AttachError> {
    let step = Step::Mount { kind: c"tmpfs", target: c(target)?, options: Some(c"mode=755".to_owned()) };
    script.must(words, step);
    Ok(())
}

fn own(script: &mut Script, identity: &Identity, path: CString) {
    if let Some((uid, gid)) = identity.owner() {
        script.must("give a folder to its user", Step::Own { path, uid, gid });
    }
}

/// Covers the sockets of name services; which folders are covered.
fn mask(script: &mut Script) -> Result<BTreeSet<PathBuf>, AttachError> {
    let there: BTreeSet<PathBuf> =
        NAME_SERVICES.iter().filter_map(|p| fs::canonicalize(p).ok()).filter(|p| p.is_dir()).collect();
    for folder in &there {
        tmpfs(script, &format!("hide {}", folder.display()), folder)?;
    }
    Ok(there)
}

/// All files to show: the plan's, and those that every guest needs.
fn wanted(plan: &Plan, bundle: Option<&Path>) -> Result<BTreeMap<PathBuf, Vec<u8>>, AttachError> {
    let mut files = BTreeMap::new();
    let first = plan.interfaces.iter().flat_map(|i| &i.addresses).map(|(address, _)| *address).next();
    let mut hosts = "127.0.0.1 localhost\n".to_owned();
    if let Some(address) = first {
        hosts.push_str(&format!("{address} {}\n", plan.hostname));
    }
    files.insert("/etc/hosts".into(), hosts.into_bytes());
    files.insert("/etc/hostname".into(), format!("{}\n", plan.hostname).into_bytes());
    files.insert("/etc/nsswitch.conf".into(), name_services().into_bytes());
    if let (Some(pem), Some(bundle)) = (&plan.certificate, bundle) {
        let there = BUNDLES.iter().map(Path::new).filter(|p| p.exists());
        for path in there.chain([bundle]) {
            let mut content = fs::read(path).unwrap_or_default();
            if !content.is_empty() && !content.ends_with(b"\n") {
                content.push(b'\n');
            }
            content.extend(pem.as_bytes());
            files.insert(path.to_owned(), content);
        }
    }
    for file in &plan.files {
        if !file.path.is_absolute() || file.path.file_name().is_none() {
            return Err(misuse(format!("{}: not the absolute path of a file", file.path.display())));
        }
        files.insert(file.path.clone(), file.content.clone());
    }
    Ok(files)
}

/// The machine's own `/etc/nsswitch.conf`, but host names come from files and DNS only.
fn name_services() -> String {
    let text = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let other = text.lines().filter(|l| !l.trim_start().starts_with("hosts:"));
    other.chain(["hosts: files dns"]).map(|l| format!("{l}\n")).collect()
}

/// The bundle that variables name.
fn bundle() -> PathBuf {
    let there = BUNDLES.iter().map(Path::new).find(|p| p.is_file());
    there.unwrap_or(Path::new(BUNDLES[0])).to_owned()
}

/// A file on the stage, and the place where it is to be seen.
struct Shown {
    staged: CString,
    place: PathBuf,
    in_etc: bool,
}

/// Writes the files to the stage: those of `/etc` into what becomes the overlay's upper half.
fn stage_files(
    script: &mut Script,
    stage: &Stage,
    files: BTreeMap<PathBuf, Vec<u8>>,
) -> Result<Vec<Shown>, AttachError> {
    let mut shown = Vec::new();
    let mut made = BTreeSet::new();
    for (number, (path, bytes)) in files.into_iter().enumerate() {
        let place = in_real_folder(&path);
        let inside = place.strip_prefix("/etc").ok().map(Path::to_owned);
        let in_etc = inside.is_some();
        let staged = match inside {
            Some(inside) => {
                for folder in inside.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
                    if !folder.as_os_str().is_empty() && made.insert(folder.to_owned()) {
                        let path = c(Path::new(stage.0).join("etc").join(folder))?;
                        script.must("prepare a folder", Step::Folder { path, mode: 0o755 });
                    }
                }
                c(Path::new(stage.0).join("etc").join(inside))?
            }
            None => stage.path(&format!("/file{number}"))?,
        };
        let words = format!("prepare {}", path.display());
        script.must(words, Step::Create { path: staged.clone(), bytes });
        shown.push(Shown { staged, place, in_etc });
    }
    Ok(shown)
}

/// The path with its folder resolved as far as that exists: `/etc/ssl` may be a link to elsewhere.
fn in_real_folder(path: &Path) -> PathBuf {
    for folder in path.ancestors().skip(1) {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(folder), path.strip_prefix(folder)) {
            return real.join(rest);
        }
    }
    path.to_owned()
}

/// Puts the staged files where they belong.
fn show(
    script: &mut Script,
    stage: &Stage,
    shown: &[Shown],
    masked: &BTreeSet<PathBuf>,
) -> Result<(), AttachError> {
    for file in shown.iter().filter(|f| !f.in_etc) {
        let to = c(fs::canonicalize(&file.place).unwrap_or_else(|_| file.place.clone()))?;
        let words = format!("cover {}: only a file that exists can be", file.place.display());
        script.must(words, Step::Bind { from: file.staged.clone(), to });
    }
    let mut single = Vec::new();
    for file in shown.iter().filter(|f| f.in_etc) {
        let real = fs::canonicalize(&file.place).unwrap_or_else(|_| file.place.clone());
        let words = format!("cover {}", file.place.display());
        if masked.iter().any(|folder| real.starts_with(folder)) {
            // A link into a folder that is empty now: a file has to be there before it can be covered.
            let made = script.action(words.clone(), Step::Create { path: c(&real)?, bytes: Vec::new() });
            single.push(Action { optional: true, ..made });
        }
        let action = script.action(words, Step::Bind { from: file.staged.clone(), to: c(&real)? });
        single.push(Action { optional: true, ..action });
    }
    let [with, without] = overlay(script, stage, Path::new("/etc"), "etc")?;
    let second = script.action("show the files of /etc", Step::Either(vec![without], single));
    script.must("show the files of /etc", Step::Either(vec![with], vec![second]));
    let own = Step::Bind { from: stage.path("/own")?, to: c(OWN)? };
    script.may(format!("show {OWN} (no home folder of its own, and joining knows no variables)"), own);
    Ok(())
}

/// A folder under a layer in memory, in two ways: kernels differ in what they want where we are not root.
fn overlay(
    script: &mut Script,
    stage: &Stage,
    folder: &Path,
    name: &str,
) -> Result<[Action; 2], AttachError> {
    let lower = folder.to_str().filter(|path| !path.contains([':', ',', '\\']));
    let lower =
        lower.ok_or_else(|| misuse(format!("{}: not a name for a writable layer", folder.display())))?;
    let work = Step::Folder { path: stage.path(&format!("/work-{name}"))?, mode: 0o755 };
    script.must("prepare a folder", work);
    let mut lay = |more: &str| -> Result<Action, AttachError> {
        let options = format!("lowerdir={lower},upperdir={0}/{name},workdir={0}/work-{name}{more}", stage.0);
        let step = Step::Mount { kind: c"overlay", target: c(folder)?, options: Some(c(options)?) };
        Ok(script.action(format!("lay a writable {lower} over the real one{more}"), step))
    };
    Ok([lay(",userxattr")?, lay("")?])
}

/// Lays a writable layer over each folder whose changes are to stay inside.
fn scratch(
    script: &mut Script,
    stage: &Stage,
    plan: &Plan,
    identity: &Identity,
    masked: &BTreeSet<PathBuf>,
) -> Result<(), AttachError> {
    for (number, folder) in plan.scratch.iter().enumerate() {
        let what = |error| AttachError::Step {
            what: format!("lay a writable layer over {}", folder.display()),
            error,
        };
        let real = fs::canonicalize(folder).map_err(what)?;
        let mode = fs::metadata(&real).map_err(what)?.mode() & 0o7777;
        if ["/", "/etc", "/proc", "/sys", "/dev"].iter().any(|p| real == Path::new(p)) || !real.is_dir() {
            return Err(misuse(format!("{}: no layer can be laid over that", folder.display())));
        }
        let name = format!("scratch{number}");
        let upper = stage.path(&format!("/{name}"))?;
        script.must("prepare a folder", Step::Folder { path: upper.clone(), mode });
        own(script, identity, upper);
        let [with, without] = overlay(script, stage, &real, &name)?;
        let words = format!("lay a writable layer over {}", real.display());
        script.must(words, Step::Either(vec![with], vec![without]));
        for path in masked.iter().filter(|path| path.starts_with(&real)) {
            tmpfs(script, "hide the sockets of a name service", path)?;
        }
    }
    Ok(())
}

/// The variables set for a guest, besides the caller's.
fn variables(plan: &Plan, identity: &Identity, bundle: Option<&Path>) -> Vec<(OsString, OsString)> {
    let mut set: Vec<(OsString, OsString)> = Vec::new();
    if let Some(account) = &identity.account {
        for name in ["USER", "LOGNAME"] {
            set.push((name.into(), account.name.clone().into()));
        }
        set.push(("HOME".into(), account.home.clone()));
    }
    if plan.own_home {
        set.push(("HOME".into(), HOME.into()));
        for (name, folder) in [("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache")] {
            set.push((name.into(), format!("{HOME}/{folder}").into()));
        }
        set.push(("XDG_DATA_HOME".into(), format!("{HOME}/.local/share").into()));
    }
    if identity.is_ordinary() {
        // nmap believes in no capabilities.
        set.push(("NMAP_PRIVILEGED".into(), "1".into()));
    }
    for name in bundle.iter().flat_map(|_| TRUST) {
        set.push((name.into(), bundle.unwrap_or(Path::new("")).into()));
    }
    set.extend(plan.env.iter().cloned());
    set
}

/// The caller's environment with these variables set and the forbidden ones gone.
pub(super) fn merged(variables: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    all.retain(|name, _| !FORBIDDEN.iter().any(|f| name == f));
    all.extend(variables.iter().cloned());
    all.into_iter().collect()
}

fn pack(variables: &[(OsString, OsString)]) -> Vec<u8> {
    variables.iter().flat_map(|(n, v)| [n.as_bytes(), b"=", v.as_bytes(), b"\0"].concat()).collect()
}

/// The inverse of what is written to [`VARIABLES`].
pub(super) fn unpack(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    let text = |b: &[u8]| OsString::from_vec(b.to_vec());
    bytes
        .split(|b| *b == 0)
        .filter_map(|pair| {
            let at = pair.iter().position(|b| *b == b'=')?;
            Some((text(&pair[..at]), text(&pair[at + 1..])))
        })
        .collect()
}

/// A database of authorities for browsers that look nowhere else (NSS: Chromium, Firefox).
fn browser_trust(
    script: &mut Script,
    identity: &Identity,
    environment: &[(OsString, OsString)],
) -> Result<(), AttachError> {
    let path = environment.iter().find(|(n, _)| n == "PATH").map_or(OsStr::new(""), |(_, v)| v);
    if !std::env::split_paths(path).any(|folder| folder.join("certutil").is_file()) {
        let words = "make browsers trust the simulated authorities: `certutil` is missing (package libnss3-tools); \
                     other programs do";
        script.missing.push(words.to_owned());
        return Ok(());
    }
    let folder = format!("{HOME}/.pki/nssdb");
    for path in [format!("{HOME}/.pki"), folder.clone()] {
        script.may("make a folder for browsers", Step::Folder { path: c(&path)?, mode: 0o755 });
        own(script, identity, c(path)?);
    }
    let database = format!("sql:{folder}");
    let create = ["certutil", "-N", "-d", &database, "--empty-password"];
    let add = ["certutil", "-A", "-d", &database, "-n", "roundtrip", "-t", "C,,", "-i", AUTHORITY];
    for command in [&create[..], &add[..]] {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let step = Step::Run(program(&command, environment.to_vec())?);
        script.may("make browsers trust the simulated authorities (certutil)", step);
    }
    Ok(())
}
