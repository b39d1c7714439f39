/// Values under small numbers that are used again.
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The number that the next value will get.
    pub(crate) fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or_else(|| {
            u32::try_from(self.entries.len()).expect("sockets run out long before numbers do")
        })
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let id = self.next();
        if self.free.pop().is_some() {
            self.entries[id as usize] = Some(value);
        } else {
            self.entries.push(Some(value));
        }
        id
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.entries.get_mut(id as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let value = self.entries.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }

    /// All numbers in use are below this one.
    pub(crate) fn bound(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }
}
