//! Places in the arena for maps that live at different times.

use std::cmp::Reverse;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::plan::Slot;

/// The message for sizes that no memory holds.
pub(super) const TOO_MUCH_MEMORY: &str = "the network needs too much memory for such inputs";

/// A map that needs a place from its first step to its last.
pub(super) struct Lifetime {
    pub slot: Slot,
    /// The first step at which the map is alive.
    pub first: usize,
    /// The last one, inclusive.
    pub last: usize,
    /// Elements.
    pub len: usize,
}

/// Gives every map a place: the largest map first, each at the lowest position at which it does not
/// overlap a map that is alive at the same time. Returns the first element of each slot's place, and
/// the elements of the arena.
///
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if no memory holds them.
pub(super) fn arrange(maps: &[Lifetime]) -> Result<(Vec<Option<usize>>, usize)> {
    let mut order: Vec<&Lifetime> = maps.iter().collect();
    order.sort_by_key(|map| Reverse(map.len));
    let slots = maps.iter().map(|map| map.slot + 1).max().unwrap_or(0);
    let mut starts: Vec<Option<usize>> = vec![None; slots];
    let mut placed = Placed::new(maps.iter().map(|map| map.last + 1).max().unwrap_or(0));
    let mut total = 0usize;
    for map in order {
        let mut taken = placed.alive_with(map);
        taken.sort_by_key(|range| range.start);
        let mut start = 0;
        for range in taken {
            if range.start >= start + map.len {
                break;
            }
            start = start.max(range.end);
        }
        let end = start
            .checked_add(map.len)
            .filter(|&end| end < isize::MAX as usize / 4)
            .ok_or_else(|| Error::shape(TOO_MUCH_MEMORY))?;
        total = total.max(end);
        starts[map.slot] = Some(start);
        placed.insert(map, start..end);
    }
    Ok((starts, total))
}

/// The maps that have a place, indexed by the steps at which they are alive.
///
/// Most maps live for a few steps, so that of thousands of maps few are alive at the same time as a
/// given one. Those are the maps that are alive when it begins, and the maps that begin while it is
/// alive. `beginning` finds the latter. `alive` finds the former: it is a segment tree over steps, in
/// which a map is listed at the few nodes whose ranges together are its lifetime. The maps that are
/// alive at a step are those listed on the path from its leaf to the root.
struct Placed {
    /// The places, in the order of insertion.
    places: Vec<Range<usize>>,
    /// For every step, the places of the maps that begin there, as indices into `places`.
    beginning: Vec<Vec<usize>>,
    /// The nodes of the tree, with indices into `places`. Node `i` has the children `2i` and
    /// `2i + 1`; the leaves are the last nodes, one per step.
    alive: Vec<Vec<usize>>,
}

impl Placed {
    fn new(steps: usize) -> Self {
        let places = Vec::new();
        Placed { places, beginning: vec![Vec::new(); steps], alive: vec![Vec::new(); 2 * steps] }
    }

    fn insert(&mut self, map: &Lifetime, place: Range<usize>) {
        let index = self.places.len();
        self.places.push(place);
        self.beginning[map.first].push(index);
        let steps = self.beginning.len();
        let (mut low, mut high) = (map.first + steps, map.last + 1 + steps);
        while low < high {
            if low % 2 == 1 {
                self.alive[low].push(index);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                self.alive[high].push(index);
            }
            (low, high) = (low / 2, high / 2);
        }
    }

    /// Returns the places of all maps that are alive at a step at which `map` is.
    fn alive_with(&self, map: &Lifetime) -> Vec<Range<usize>> {
        let mut indices: Vec<&usize> = Vec::new();
        let mut node = map.first + self.beginning.len();
        while node > 0 {
            indices.extend(&self.alive[node]);
            node /= 2;
        }
        indices.extend(self.beginning[map.first + 1..=map.last].iter().flatten());
        indices.into_iter().map(|&index| self.places[index].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(slot: Slot, first: usize, last: usize, len: usize) -> Lifetime {
        Lifetime { slot, first, last, len }
    }

    #[test]
    fn maps_that_are_alive_together_do_not_overlap_and_others_share() {
        let maps = [
            lifetime(0, 0, 1, 64),
            lifetime(1, 1, 2, 128),
            lifetime(2, 2, 3, 64),
            lifetime(3, 0, 3, 16),
        ];
        let (starts, total) = arrange(&maps).unwrap();
        for a in &maps {
            for b in &maps {
                let together = a.slot < b.slot && a.first <= b.last && b.first <= a.last;
                let (p, q) = (starts[a.slot].unwrap(), starts[b.slot].unwrap());
                assert!(!together || p + a.len <= q || q + b.len <= p, "{} and {}", a.slot, b.slot);
            }
        }
        assert_eq!(total, 128 + 64 + 16);
    }

    /// A map is found exactly once if it is alive together with the given one, and else not at all.
    #[test]
    fn maps_that_are_alive_together_are_found() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for steps in [1, 2, 7, 64, 100] {
            let maps: Vec<Lifetime> = (0..60)
                .map(|slot| {
                    let first = random(steps);
                    lifetime(slot, first, first + random(steps - first), 1)
                })
                .collect();
            let mut placed = Placed::new(steps);
            for map in &maps {
                let mut found: Vec<usize> =
                    placed.alive_with(map).into_iter().map(|range| range.start).collect();
                found.sort();
                let earlier = maps[..map.slot].iter();
                let together = earlier.filter(|o| map.first <= o.last && o.first <= map.last);
                assert_eq!(found, together.map(|o| o.slot).collect::<Vec<_>>(), "{steps} steps");
                placed.insert(map, map.slot..map.slot + 1);
            }
        }
    }
}
