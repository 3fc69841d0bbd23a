//! Who was tried already.

/// Who was tried already, by number.
#[derive(Default)]
pub struct Tried {
    few: u64,
    /// Those from the 64th on; empty until one of them was tried.
    more: Box<[u64]>,
}

impl Tried {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.few == 0 && self.more.is_empty()
    }

    #[inline]
    pub(super) fn has(&self, i: usize) -> bool {
        match i.checked_sub(64) {
            None => self.few >> i & 1 == 1,
            Some(i) => self.more.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1),
        }
    }

    pub fn add(&mut self, i: usize) {
        let Some(i) = i.checked_sub(64) else {
            self.few |= 1 << i;
            return;
        };
        if self.more.len() <= i / 64 {
            let mut more = core::mem::take(&mut self.more).into_vec();
            more.resize(i / 64 + 1, 0);
            self.more = more.into();
        }
        self.more[i / 64] |= 1 << (i % 64);
    }
}
