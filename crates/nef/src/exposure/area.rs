//! External area names (ExtAreaId of TS 29.522): what AFs call an area, and the AIoT areas that this is.

use std::collections::BTreeMap;

use ambit_adm_api::AfAuthorization;
use ambit_protocol::AreaId;
use ambit_sbi::json::Field;
use ambit_sbi::problem::Problem;

/// Names in one request at most, and areas of one name.
const AREAS_MAX: usize = 256;

/// The longest name, in octets.
const NAME_OCTETS_MAX: usize = 128;

/// What AFs call areas.
#[derive(Clone, Debug, Default)]
pub struct AreaNames(BTreeMap<String, Vec<AreaId>>);

/// Why a name cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AreaError {
    /// The name is too long, or empty.
    #[error("name: must have 1 to {NAME_OCTETS_MAX} octets")]
    Name,
    /// It stands for nothing, or too much.
    #[error("areas: must be 1 to {AREAS_MAX}")]
    Areas,
    /// It is there already.
    #[error("name: {0} stands twice")]
    Twice(String),
}

impl AreaNames {
    /// Adds a name.
    ///
    /// # Errors
    /// [`AreaError`].
    pub fn add(&mut self, name: &str, areas: Vec<AreaId>) -> Result<(), AreaError> {
        if !(1..=NAME_OCTETS_MAX).contains(&name.len()) {
            return Err(AreaError::Name);
        }
        if !(1..=AREAS_MAX).contains(&areas.len()) {
            return Err(AreaError::Areas);
        }
        match self.0.insert(name.to_owned(), areas) {
            None => Ok(()),
            Some(_) => Err(AreaError::Twice(name.to_owned())),
        }
    }

    /// What an area is called, if it has a name: the first one of which it is the only area, else the first that holds it.
    pub fn name_of(&self, area: &AreaId) -> Option<&str> {
        let holding = || self.0.iter().filter(|(_, areas)| areas.contains(area));
        let alone = holding().find(|(_, areas)| areas.len() == 1);
        alone
            .or_else(|| holding().next())
            .map(|(name, _)| name.as_str())
    }

    /// What areas come to in names, the widest first; `area=` and the AreaID for what has none.
    pub(super) fn names_of(&self, areas: &[Vec<u8>]) -> Vec<String> {
        let has = |area: &AreaId| areas.iter().any(|one| one == area.octets());
        let mut named: Vec<_> = self.0.iter().filter(|(_, of)| of.iter().all(has)).collect();
        named.sort_by_key(|(_, of)| std::cmp::Reverse(of.len()));
        let mut left: Vec<&Vec<u8>> = areas.iter().collect();
        let mut names = Vec::new();
        for (name, of) in named {
            let before = left.len();
            left.retain(|area| !of.iter().any(|one| *area == one.octets()));
            if left.len() < before {
                names.push(name.clone());
            }
        }
        names.extend(
            left.iter()
                .map(|area| format!("area={}", hex::encode(area))),
        );
        names
    }

    /// The areas of an ExtTargetArea that an AF may ask for. To one that is not let in everywhere a name that is not there
    /// looks like one that is not its own.
    ///
    /// # Errors
    /// 400, 403 `AREA_NOT_ALLOWED`, 404 `AREA_NOT_FOUND`.
    pub(super) fn wanted(
        &self,
        field: &Field<'_>,
        granted: &AfAuthorization,
    ) -> Result<Vec<AreaId>, Problem> {
        let fields = field.object()?;
        let Some(list) = fields.optional("extAreaIds") else {
            let odd = ["geographicAreas", "civicAddresses"];
            let odd = odd.iter().find_map(|name| fields.optional(name));
            return Err(match odd {
                Some(odd) => odd.breaks("areas are known by extAreaIds alone here"),
                None => field.breaks("must have extAreaIds"),
            });
        };
        if fields.has("geographicAreas") || fields.has("civicAddresses") {
            return Err(field.breaks("must have one of its members"));
        }
        let mut wanted = Vec::new();
        for name in list.array(AREAS_MAX)? {
            let text = name.short_text(NAME_OCTETS_MAX)?;
            let areas = self.0.get(text);
            let is_own = |areas: &&Vec<AreaId>| areas.iter().all(|a| granted.has_area(a.octets()));
            match areas.filter(is_own) {
                Some(areas) => wanted.extend_from_slice(areas),
                None if granted.areas.is_some() => {
                    let detail = format!(
                        "{}: the area is not among those that the AF is granted",
                        name.pointer()
                    );
                    return Err(Problem::forbidden("AREA_NOT_ALLOWED", detail));
                }
                None => {
                    let detail = format!("{}: no area has this name", name.pointer());
                    return Err(Problem::not_found("AREA_NOT_FOUND", detail));
                }
            }
        }
        wanted.sort_unstable_by_key(|area| *area.octets());
        wanted.dedup();
        match wanted.len() > AREAS_MAX {
            true => Err(field.breaks(format!("must come to {AREAS_MAX} areas at most"))),
            false => Ok(wanted),
        }
    }
}
