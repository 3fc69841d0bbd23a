//! Things with names that are never given again: epoll and timers may speak of a connection that is gone.

pub struct Slots<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts a thing and returns its name, which is never below 2^32.
    pub fn put(&mut self, thing: T) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[at as usize];
        slot.0 += 1;
        slot.1 = Some(thing);
        (slot.0 as u64) << 32 | at as u64
    }

    pub fn get(&mut self, name: u64) -> Option<&mut T> {
        let (age, thing) = self.slots.get_mut(name as u32 as usize)?;
        if *age as u64 == name >> 32 {
            thing.as_mut()
        } else {
            None
        }
    }

    pub fn take(&mut self, name: u64) -> Option<T> {
        self.get(name)?;
        self.free.push(name as u32);
        self.slots[name as u32 as usize].1.take()
    }

    /// The names of all things that are there.
    pub fn names(&self) -> Vec<u64> {
        let there = self.slots.iter().enumerate().filter(|(_, slot)| slot.1.is_some());
        there.map(|(at, slot)| (slot.0 as u64) << 32 | at as u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_means_nothing() {
        let mut slots = Slots::default();
        let first = slots.put("a");
        assert_eq!(slots.take(first), Some("a"));
        assert_eq!(slots.take(first), None);
        let second = slots.put("b");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get(second), Some(&mut "b"));
        assert_eq!(slots.names(), [second]);
        assert!(first >= 1 << 32);
    }
}
