//! Makes a failing list of operations as short as it gets: whole stretches are left out, then smaller ones, as long as
//! it still fails (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).

/// Leaves out what is not needed. `fails` plays a list; it is asked at most `attempts` times.
pub(super) fn shrink<T: Clone>(
    list: &[T],
    mut attempts: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut list = list.to_vec();
    let mut stretch = list.len().div_ceil(2).max(1);
    loop {
        let (mut at, mut has_shrunk) = (0, false);
        while at < list.len() && attempts > 0 {
            let end = (at + stretch).min(list.len());
            let without = [&list[..at], &list[end..]].concat();
            attempts -= 1;
            if fails(&without) {
                (list, has_shrunk) = (without, true);
            } else {
                at = end;
            }
        }
        if attempts == 0 || (stretch == 1 && !has_shrunk) {
            return list;
        }
        stretch = if has_shrunk { stretch } else { stretch.div_ceil(2) }.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_remains_and_in_its_order() {
        let list: Vec<u32> = (0..100).collect();
        let needed = |list: &[u32]| [13, 14, 71].iter().all(|one| list.contains(one));
        assert_eq!(shrink(&list, 1_000, needed), [13, 14, 71]);
        assert_eq!(shrink(&list, 1_000, |_| true), [0_u32; 0]);
    }

    #[test]
    fn it_ends_after_its_attempts() {
        let mut asked = 0;
        let list: Vec<u32> = (0..1_000).collect();
        let shrunk = shrink(&list, 20, |list| {
            asked += 1;
            list.contains(&999) && list.contains(&0)
        });
        assert!(shrunk.contains(&999) && shrunk.len() < 1_000);
        assert_eq!(asked, 20);
    }
}
