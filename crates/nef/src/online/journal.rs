//! What was sent to the CHF and what became of it, durably: lines of JSON, in files that are followed by others when they are
//! large.
//!
//! ```text
//! {"through":{"event":40,"record":44,"link":"...","last_event":40}}   all records up to here are dealt with
//! {"sending":{"event":41,"record":45,"link":"..."}}                   written before it is sent for the first time
//! {"taken":{"event":41,"record":45,"link":"..."}}                     the CHF has it
//! {"refused":{"event":42,"record":46,"link":"...","reason":"...","body":{...}}}
//! ```
//! A torn end is cut off: what it said is sent once more, under the same key and number.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OnlineError;

/// Files that are kept: what a restored store is compared with.
const FILES_MAX: u64 = 8;

/// An event and its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the event, from 1.
    pub event: u64,
    /// Id of the acceptance record.
    pub record: i64,
    /// The record's link, hexadecimal.
    pub link: String,
}

/// An event that the CHF refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    #[serde(flatten)]
    pub(super) mark: Mark,
    pub(super) reason: String,
    pub(super) body: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Through(Through),
    Sending(Mark),
    Taken(Mark),
    Refused(Box<Refused>),
}

/// Where charging stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Through {
    /// The last record up to which all are dealt with.
    #[serde(flatten)]
    pub(super) mark: Mark,
    /// The greatest number given to an event.
    pub(super) last_event: u64,
}

/// An event that was sent, behind the position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) event: u64,
    pub(super) is_done: bool,
}

/// What the current file says.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) through: Through,
    /// Events sent behind the position, by link of their record.
    pub(super) known: HashMap<String, Known>,
    /// Those that the CHF refused and has not taken since, by number.
    pub(super) refused: BTreeMap<u64, Refused>,
}

#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    number: u64,
    file: File,
    octets: u64,
    /// How large it was when it was begun, as far as is known.
    begun_octets: u64,
}

impl Journal {
    /// Takes up the journal of a directory; a new one begins at `first`.
    pub(super) fn open(dir: &Path, first: Mark) -> Result<(Self, Past), OnlineError> {
        fs::create_dir_all(dir).map_err(failed(dir))?;
        let Some(number) = numbers(dir)?.last().copied() else {
            let past = Past {
                through: Through {
                    mark: first,
                    last_event: 0,
                },
                ..Past::default()
            };
            let lines = [Line::Through(past.through.clone())];
            return Ok((Self::begin(dir, 1, &lines)?, past));
        };
        let path = file_path(dir, number);
        let text = fs::read(&path).map_err(failed(&path))?;
        let (lines, octets) = lines(&text);
        // A file gets its name when its first line is durable.
        let Some(Line::Through(_)) = lines.first() else {
            let rule = "must begin with a line that says where charging stands";
            return Err(OnlineError::Damaged { path, rule });
        };
        let cut = || {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(octets)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = cut().map_err(failed(&path))?;
        let journal = Self {
            dir: dir.into(),
            number,
            file,
            octets,
            begun_octets: 0,
        };
        Ok((journal, Past::of(lines)))
    }

    /// Adds lines, durably.
    pub(super) fn append(&mut self, lines: &[Line]) -> Result<(), OnlineError> {
        if lines.is_empty() {
            return Ok(());
        }
        let text = text(lines);
        let mut write = || {
            self.file.write_all(&text)?;
            self.file.sync_data()
        };
        write().map_err(failed(&file_path(&self.dir, self.number)))?;
        self.octets += text.len() as u64;
        Ok(())
    }

    /// Whether another file should follow: this one has at least `octets_max`, and has doubled since it was begun.
    pub(super) const fn is_full(&self, octets_max: u64) -> bool {
        self.octets >= octets_max && self.octets / 2 >= self.begun_octets
    }

    /// Goes on in another file, which begins with what still counts.
    pub(super) fn follow(&mut self, lines: &[Line]) -> Result<(), OnlineError> {
        *self = Self::begin(&self.dir, self.number + 1, lines)?;
        for number in numbers(&self.dir)? {
            if number + FILES_MAX <= self.number {
                let path = file_path(&self.dir, number);
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    fn begin(dir: &Path, number: u64, lines: &[Line]) -> Result<Self, OnlineError> {
        let path = file_path(dir, number);
        let part = path.with_extension("part");
        let text = text(lines);
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o640);
            let mut file = options.open(&part)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(dir)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(failed(&path))?;
        Ok(Self {
            dir: dir.into(),
            number,
            file,
            octets: text.len() as u64,
            begun_octets: text.len() as u64,
        })
    }

    /// The newest record up to `through` that was dealt with and `is_common`, from all files that are kept; `None` if there is
    /// none. The second value says whether all records ever dealt with were looked at.
    pub(super) fn newest(
        &self,
        through: i64,
        is_common: &mut dyn FnMut(&Mark) -> Result<bool, OnlineError>,
    ) -> Result<(Option<Mark>, bool), OnlineError> {
        let numbers = numbers(&self.dir)?;
        for number in numbers.iter().rev() {
            let path = file_path(&self.dir, *number);
            let text = fs::read(&path).map_err(failed(&path))?;
            let marks = lines(&text).0.into_iter().filter_map(|line| match line {
                Line::Through(through) => Some(through.mark),
                Line::Taken(mark) => Some(mark),
                Line::Refused(refused) => Some(refused.mark),
                Line::Sending(_) => None,
            });
            let is_dealt_with = |mark: &Mark| mark.record <= through && !mark.link.is_empty();
            let mut marks: Vec<Mark> = marks.filter(is_dealt_with).collect();
            marks.sort_by_key(|mark| std::cmp::Reverse(mark.record));
            for mark in marks {
                if is_common(&mark)? {
                    return Ok((Some(mark), true));
                }
            }
        }
        Ok((None, numbers.first() == Some(&1)))
    }
}

impl Past {
    fn of(lines: Vec<Line>) -> Self {
        let mut past = Self::default();
        let (mut sent, mut done) = (VecDeque::new(), BTreeSet::new());
        for line in lines {
            match line {
                Line::Through(through) => past.through = through,
                Line::Sending(mark) => {
                    past.through.last_event = past.through.last_event.max(mark.event);
                    sent.push_back(mark);
                }
                Line::Taken(mark) => {
                    past.refused.remove(&mark.event);
                    done.insert(mark.event);
                }
                Line::Refused(refused) => {
                    done.insert(refused.mark.event);
                    past.refused.insert(refused.mark.event, *refused);
                }
            }
        }
        // In the order of their records.
        while let Some(mark) = sent.front() {
            if !done.contains(&mark.event) {
                break;
            }
            past.through.mark = mark.clone();
            sent.pop_front();
        }
        let known = |mark: Mark| {
            let known = Known {
                event: mark.event,
                is_done: done.contains(&mark.event),
            };
            (mark.link, known)
        };
        past.known = sent.into_iter().map(known).collect();
        past
    }
}

fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("chf-{number:010}.jsonl"))
}

/// The numbers of the files, ascending.
fn numbers(dir: &Path) -> Result<Vec<u64>, OnlineError> {
    let read = || -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix("chf-"));
            let number = name.and_then(|name| name.strip_suffix(".jsonl"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    };
    read().map_err(failed(dir))
}

/// The lines up to the first that is none, and how many octets they take.
fn lines(text: &[u8]) -> (Vec<Line>, u64) {
    let (mut lines, mut octets) = (Vec::new(), 0);
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        let Ok(read) = serde_json::from_slice(line) else {
            break;
        };
        if !line.ends_with(b"\n") {
            break;
        }
        lines.push(read);
        octets += line.len() as u64;
    }
    (lines, octets)
}

fn text(lines: &[Line]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        // Plain structs with text keys always have a JSON text.
        let _ = serde_json::to_writer(&mut text, line);
        text.push(b'\n');
    }
    text
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OnlineError + '_ {
    |error| OnlineError::Io {
        path: path.into(),
        error,
    }
}
