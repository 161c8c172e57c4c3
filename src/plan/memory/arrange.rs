//! Places of maps in the arena.

use std::cmp::Reverse;
use std::ops::Range;

use super::NO_MEMORY;
use crate::error::{Error, Result};
use crate::plan::Slot;

/// A map that needs a place from its first to its last step.
pub(super) struct Lifetime {
    pub slot: Slot,
    pub first: usize,
    pub last: usize,
    pub len: usize,
}

/// Gives every map a place, the largest first, each as low as those that live with it allow. Returns
/// the place of every slot, and the elements of the arena.
///
/// # Errors
/// `Shape` where no memory holds them.
pub(super) fn arrange(maps: &[Lifetime]) -> Result<(Vec<Option<usize>>, usize)> {
    let mut order: Vec<&Lifetime> = maps.iter().collect();
    order.sort_by_key(|map| Reverse(map.len));
    let slots = maps.iter().map(|map| map.slot + 1).max().unwrap_or(0);
    let mut places: Vec<Option<usize>> = vec![None; slots];
    let mut placed = Placed::new(maps.iter().map(|map| map.last + 1).max().unwrap_or(0));
    let mut total = 0usize;
    for map in order {
        let mut taken = placed.beside(map);
        taken.sort_by_key(|range| range.start);
        let mut place = 0;
        for range in taken {
            if range.start >= place + map.len {
                break;
            }
            place = place.max(range.end);
        }
        let end = place
            .checked_add(map.len)
            .filter(|&end| end < isize::MAX as usize / 4)
            .ok_or_else(|| Error::shape(NO_MEMORY))?;
        total = total.max(end);
        places[map.slot] = Some(place);
        placed.insert(map, place..end);
    }
    Ok((places, total))
}

/// The places that have been given away, found by the steps at which they are taken.
///
/// Maps live for a few steps mostly, so that few of thousands live with any one. They are kept twice:
/// by the step at which they begin, and in a segment tree over steps, in which a map is noted at the
/// few nodes that together are its lifetime, and those that are alive at a step at the nodes from its
/// leaf to the root.
struct Placed {
    places: Vec<Range<usize>>,
    beginning: Vec<Vec<usize>>,
    /// A leaf for every step after as many inner nodes; node `i` has the children `2i` and `2i + 1`.
    alive: Vec<Vec<usize>>,
}

impl Placed {
    fn new(steps: usize) -> Self {
        let places = Vec::new();
        Placed { places, beginning: vec![Vec::new(); steps], alive: vec![Vec::new(); 2 * steps] }
    }

    fn insert(&mut self, map: &Lifetime, place: Range<usize>) {
        let number = self.places.len();
        self.places.push(place);
        self.beginning[map.first].push(number);
        let steps = self.beginning.len();
        let (mut low, mut high) = (map.first + steps, map.last + 1 + steps);
        while low < high {
            if low % 2 == 1 {
                self.alive[low].push(number);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                self.alive[high].push(number);
            }
            (low, high) = (low / 2, high / 2);
        }
    }

    /// The places of all maps that live at some step at which `map` does.
    fn beside(&self, map: &Lifetime) -> Vec<Range<usize>> {
        let mut found: Vec<&usize> = Vec::new();
        let mut node = map.first + self.beginning.len();
        while node > 0 {
            found.extend(&self.alive[node]);
            node /= 2;
        }
        found.extend(self.beginning[map.first + 1..=map.last].iter().flatten());
        found.into_iter().map(|&number| self.places[number].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(slot: Slot, first: usize, last: usize, len: usize) -> Lifetime {
        Lifetime { slot, first, last, len }
    }

    #[test]
    fn maps_that_live_together_lie_apart_and_others_share() {
        let maps = [
            lifetime(0, 0, 1, 64),
            lifetime(1, 1, 2, 128),
            lifetime(2, 2, 3, 64),
            lifetime(3, 0, 3, 16),
        ];
        let (places, total) = arrange(&maps).unwrap();
        for a in &maps {
            for b in &maps {
                let together = a.slot < b.slot && a.first <= b.last && b.first <= a.last;
                let (p, q) = (places[a.slot].unwrap(), places[b.slot].unwrap());
                assert!(!together || p + a.len <= q || q + b.len <= p, "{} and {}", a.slot, b.slot);
            }
        }
        assert_eq!(total, 128 + 64 + 16);
    }

    /// Every map is found beside another exactly once, if the two live together.
    #[test]
    fn those_that_live_together_are_found() {
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
                    placed.beside(map).into_iter().map(|range| range.start).collect();
                found.sort();
                let earlier = maps[..map.slot].iter();
                let together = earlier.filter(|o| map.first <= o.last && o.first <= map.last);
                assert_eq!(found, together.map(|o| o.slot).collect::<Vec<_>>(), "{steps} steps");
                placed.insert(map, map.slot..map.slot + 1);
            }
        }
    }
}
