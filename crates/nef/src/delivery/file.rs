//! An append-only file of lines of JSON. Each line holds its CloudEvent with one attribute more, `position`: where delivery goes
//! on behind it. So the file is its own memory: a kill at any octet leaves at worst a torn last line, which is cut off, and what
//! stands in whole lines is not written again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::sink::{Failed, Outcome, Outgoing};
use crate::subscription::Position;

/// The file is synchronised no more often than this, as its disk is that of the records perhaps.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// What is read at once, looking for the last line.
const BLOCK: u64 = 64 * 1024;

/// The file of one subscription.
pub(super) struct FileSink {
    path: PathBuf,
    subscription: String,
    open: Option<Open>,
}

/// The file as it is open; locked, so that nobody else appends.
struct Open {
    file: File,
    octets: u64,
    inode: u64,
    synced: Instant,
    /// Than was there when it was synchronised.
    has_more: bool,
}

impl FileSink {
    pub(super) const fn new(path: PathBuf, subscription: String) -> Self {
        Self {
            path,
            subscription,
            open: None,
        }
    }

    /// Opens the file, cuts off a torn line, and says where to go on: behind what the file holds, though `kept` may be before it.
    pub(super) async fn recover(&mut self, kept: &Position) -> Result<Position, Failed> {
        self.open = None;
        let (path, subscription, kept) =
            (self.path.clone(), self.subscription.clone(), kept.clone());
        let (open, position) = blocking(&self.path, move || {
            let mut open = Open::new(&path)?;
            let position = open.recover(&subscription, &kept)?;
            Ok((open, position))
        })
        .await?;
        self.open = Some(open);
        Ok(position)
    }

    /// Appends all, or nothing.
    pub(super) async fn send(&mut self, wave: &[Outgoing]) -> Vec<Outcome> {
        let mut lines = Vec::new();
        for outgoing in wave {
            line(outgoing, &mut lines);
        }
        let Some(mut open) = self.open.take() else {
            // An error took the file away: the worker begins anew, with what the file then holds.
            let failed = Failed::new("sink_file", format!("{}: is closed", self.path.display()));
            return vec![Outcome::Failed(failed); wave.len()];
        };
        let path = self.path.clone();
        let written = blocking(&self.path, move || {
            open = open.follow(&path)?;
            open.append(&lines)?;
            Ok(open)
        });
        match written.await {
            Ok(open) => {
                self.open = Some(open);
                vec![Outcome::Taken; wave.len()]
            }
            Err(failed) => vec![Outcome::Failed(failed); wave.len()],
        }
    }

    /// Synchronises the file, if it is time. Returns its length if everything in it is on the disk.
    pub(super) async fn settle(&mut self) -> Result<Option<u64>, Failed> {
        let Some(open) = self.open.take() else {
            return Ok(None);
        };
        if !open.has_more {
            let octets = open.octets;
            self.open = Some(open);
            return Ok(Some(octets));
        }
        if open.synced.elapsed() < SYNC_EVERY {
            self.open = Some(open);
            return Ok(None);
        }
        let synced = blocking(&self.path, move || {
            open.file.sync_data()?;
            Ok(open)
        });
        let mut open = synced.await?;
        open.synced = Instant::now();
        open.has_more = false;
        let octets = open.octets;
        self.open = Some(open);
        Ok(Some(octets))
    }
}

/// Runs what waits for the disk where nobody waits with it.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    let done = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error)),
    };
    done.map_err(|error| Failed::new("sink_file", format!("{}: {error}", path.display())))
}

/// The event with its position as the last member.
fn line(outgoing: &Outgoing, lines: &mut Vec<u8>) {
    let event = &outgoing.message.event;
    let position = serde_json::to_string(&outgoing.after)
        .and_then(|position| serde_json::to_string(&position));
    match (event.strip_suffix('}'), position) {
        (Some(members), Ok(position)) => {
            for part in [members, ",\"position\":", &position, "}"] {
                lines.extend_from_slice(part.as_bytes());
            }
        }
        _ => lines.extend_from_slice(event.as_bytes()),
    }
    lines.push(b'\n');
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another process appends to it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if is_new && let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let metadata = file.metadata()?;
        Ok(Self {
            octets: metadata.len(),
            inode: metadata.ino(),
            file,
            synced: Instant::now(),
            // Who wrote it may not have come to that.
            has_more: true,
        })
    }

    /// The file of this name: another one, when somebody has taken the first away (log rotation).
    fn follow(self, path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.ino() == self.inode => {
                let octets = metadata.len();
                Ok(Self { octets, ..self })
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.file.sync_data()?;
                Self::new(path)
            }
        }
    }

    /// What is not written whole is taken back.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(lines) {
            let _ = self.file.set_len(self.octets);
            return Err(error);
        }
        self.octets += lines.len() as u64;
        self.has_more = true;
        Ok(())
    }

    fn recover(&mut self, subscription: &str, kept: &Position) -> io::Result<Position> {
        let last = self.last_line()?;
        let found = last.as_ref().map(|(line, _)| position(line, subscription));
        match (last, found) {
            // Nothing whole: what there is must be the beginning of a line of ours.
            (None, _) => {
                let mut text = Vec::new();
                self.file.seek(SeekFrom::Start(0))?;
                Read::by_ref(&mut self.file)
                    .take(16)
                    .read_to_end(&mut text)?;
                let begin = b"{\"data\":{";
                if !text.iter().zip(begin).all(|(a, b)| a == b || *a == 0) {
                    return Err(foreign());
                }
                self.cut(0)?;
                Ok(kept.clone())
            }
            (Some((_, end)), Some(Some(position))) => {
                self.cut(end)?;
                // Through here everything was on the disk and noted. What the file has beyond was not noted yet; what it
                // lacks, somebody took away or the disk lost: it is written again.
                match kept.octets {
                    Some(noted) if noted == end => Ok(kept.clone()),
                    _ => Ok(position),
                }
            }
            _ => Err(foreign()),
        }
    }

    /// The last whole line, and where it ends.
    fn last_line(&mut self) -> io::Result<Option<(Vec<u8>, u64)>> {
        let mut tail: Vec<u8> = Vec::new();
        let mut begin = self.octets;
        loop {
            let mut ends = tail.iter().rposition(|octet| *octet == b'\n').into_iter();
            if let Some(end) = ends.next() {
                let before = tail.get(..end).unwrap_or_default();
                let first = before.iter().rposition(|octet| *octet == b'\n');
                if first.is_some() || begin == 0 {
                    let line = before.get(first.map_or(0, |first| first + 1)..);
                    let line = line.unwrap_or_default().to_vec();
                    return Ok(Some((line, begin + end as u64 + 1)));
                }
            }
            if begin == 0 {
                return Ok(None);
            }
            let next = begin.saturating_sub(BLOCK);
            let mut block = Vec::new();
            self.file.seek(SeekFrom::Start(next))?;
            Read::by_ref(&mut self.file)
                .take(begin - next)
                .read_to_end(&mut block)?;
            block.append(&mut tail);
            tail = block;
            begin = next;
        }
    }

    fn cut(&mut self, octets: u64) -> io::Result<()> {
        if octets < self.octets {
            self.file.set_len(octets)?;
            self.file.sync_data()?;
            self.octets = octets;
        }
        Ok(())
    }
}

fn foreign() -> io::Error {
    io::Error::other("holds something else than this subscription's lines; move it away")
}

/// The position in a line of this subscription.
fn position(line: &[u8], subscription: &str) -> Option<Position> {
    let event: Value = serde_json::from_slice(line).ok()?;
    if event.get("subscription")?.as_str()? != subscription {
        return None;
    }
    serde_json::from_str(event.get("position")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::message::Message;
    use super::*;
    use crate::subscription::What;

    fn outgoing(record: i64) -> Outgoing {
        let mut after = Position::default();
        after.pass_record(record);
        let event = serde_json::json!({
            "data": { "record": record, "text": "a\nb" },
            "subscription": "s",
        });
        Outgoing {
            message: Message {
                id: format!("s-r{record}"),
                name: format!("r{record}"),
                what: What::Data,
                device_id: None,
                fleet: Arc::default(),
                area_id: None,
                event: event.to_string().into(),
            },
            after,
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(work)
    }

    #[test]
    fn cut_at_any_octet_it_goes_on_behind_its_last_whole_line_and_doubles_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let whole: Vec<Outgoing> = (1..=4).map(outgoing).collect();
        let mut text = Vec::new();
        for outgoing in &whole {
            line(outgoing, &mut text);
        }
        for cut in 0..=text.len() {
            for garbage in [&b""[..], b"\0\0\0"] {
                let torn = [&text[..cut], garbage].concat();
                fs::write(&path, &torn).unwrap();
                let mut sink = FileSink::new(path.clone(), "s".into());
                let from = run(sink.recover(&Position::default())).unwrap();
                let written = text[..cut].iter().filter(|o| **o == b'\n').count();
                assert_eq!(
                    from.record(0),
                    i64::try_from(written).unwrap(),
                    "cut at {cut}"
                );
                let rest = &whole[written..];
                for outcome in run(sink.send(rest)) {
                    assert!(matches!(outcome, Outcome::Taken));
                }
                assert_eq!(fs::read(&path).unwrap(), text, "cut at {cut}");
            }
        }
    }

    #[test]
    fn somebody_else_s_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        for text in [
            "dear diary\n",
            "dear diary",
            "{\"subscription\":\"t\"}\n",
            "{}\n{\"da",
        ] {
            fs::write(&path, text).unwrap();
            let mut sink = FileSink::new(path.clone(), "s".into());
            let refused = run(sink.recover(&Position::default())).unwrap_err();
            assert_eq!(refused.name, "sink_file");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_file_that_is_taken_away_is_made_anew_and_two_do_not_append_to_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let mut sink = FileSink::new(path.clone(), "s".into());
        run(sink.recover(&Position::default())).unwrap();
        run(sink.send(&[outgoing(1)]));
        let mut second = FileSink::new(path.clone(), "s".into());
        assert!(run(second.recover(&Position::default())).is_err());
        fs::rename(&path, dir.path().join("out.1")).unwrap();
        run(sink.send(&[outgoing(2)]));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"record\":2") && !text.contains("\"record\":1"));
    }
}
