//! From the name of a systemd unit or a container to the numbers of its control groups.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The control groups that `name` means, and all within them: sockets say only the innermost one.
///
/// A name is a path from the root of the groups, the last part of one, or that without its
/// `.service`, `.scope` or `.slice`; of a container, the beginning of its id, at least 12 digits.
pub(crate) fn cgroups(name: &str) -> Result<Vec<u64>, Failure> {
    let mount = mount_point().ok_or_else(|| {
        Failure::impossible("units need control groups of version 2, and none are mounted here")
    })?;
    let mut found = Vec::new();
    walk(&mount, Path::new("/"), false, name, &mut found)
        .map_err(|error| Failure::impossible(format!("cannot read the control groups: {error}")))?;
    if found.is_empty() {
        let place = mount.display();
        let sentence = format!("no unit or container {name}: no control group of this name below");
        return Err(Failure::no_target(format!("{sentence} {place}")));
    }
    Ok(found)
}

/// The last part of a control group's path that names something: what people call the unit.
pub(crate) fn short(path: &Path) -> String {
    let parts = path.iter().filter_map(|part| part.to_str());
    let named = |part: &&str| ["service", "scope"].iter().any(|end| part.ends_with(end));
    let unit = parts.clone().rfind(named);
    unit.or_else(|| parts.clone().next_back()).unwrap_or("/").to_owned()
}

fn walk(
    mount: &Path,
    folder: &Path,
    inside: bool,
    name: &str,
    found: &mut Vec<u64>,
) -> io::Result<()> {
    let real = mount.join(folder.strip_prefix("/").unwrap_or(folder));
    let entries = match fs::read_dir(real) {
        Ok(entries) => entries,
        Err(_) if folder != Path::new("/") => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = folder.join(entry.file_name());
        let inside = inside || is_called(&path, name);
        if inside {
            found.push(entry.ino());
        }
        walk(mount, &path, inside, name, found)?;
    }
    Ok(())
}

/// Whether a control group of this path, or of this last part of one, has the name.
pub(crate) fn is_called(path: &Path, name: &str) -> bool {
    let Some(last) = path.file_name().and_then(|last| last.to_str()) else { return false };
    let bare = [".service", ".scope", ".slice"].iter().find_map(|end| last.strip_suffix(end));
    // `docker-0123456789ab….scope`, `cri-containerd-…`, or the id alone.
    let id = bare.unwrap_or(last).rsplit('-').next().unwrap_or(last);
    let is_id = name.len() >= 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.as_os_str().as_bytes() == name.as_bytes()
        || last == name
        || bare == Some(name)
        || (is_id && id.starts_with(name))
}

/// Where `cgroup2` is mounted.
fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let line = lines.find(|words| words.get(2) == Some(&"cgroup2"))?;
    Some(PathBuf::from(line[1].replace("\\040", " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers_have_several_names() {
        let unit = Path::new("/system.slice/nginx.service");
        for name in ["nginx", "nginx.service", "/system.slice/nginx.service"] {
            assert!(is_called(unit, name), "{name}");
        }
        for name in ["", "ngin", "service", "system.slice", "/nginx.service"] {
            assert!(!is_called(unit, name), "{name}");
        }
        let container = Path::new("/system.slice/docker-0123456789abcdef.scope");
        assert!(is_called(container, "0123456789ab") && !is_called(container, "0123456789"));
    }

    #[test]
    fn the_innermost_unit_is_the_name() {
        for (path, name) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/user.slice/user-1.slice/user@1.service/app.slice/a.scope", "a.scope"),
            ("/system.slice/docker-01.scope/inner", "docker-01.scope"),
            ("/custom/group", "group"),
            ("/", "/"),
        ] {
            assert_eq!(short(Path::new(path)), name);
        }
    }
}
