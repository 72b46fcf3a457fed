//! The smooth order in which members with given shares take their turns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A member's turn: when it falls due, then whose it is, then which of the member's turns.
type Turn = Reverse<(u64, usize, u64)>;

/// The order in which members take turns, member `i` exactly `shares[i]` of them, spread evenly.
///
/// Returns positions in `shares`, as many as the sum N of the shares (at most 2³²). Turn k (from 0) of a
/// member with share s has the window from ⌊kN/s⌋ to ⌈(k+1)N/s⌉, in which it would fall if turns could be
/// divided; the earliest end goes first, the earlier member on a tie. Earliest deadline first keeps every
/// window whenever some order does (Jackson 1955), and one does (the windows of Pfair scheduling: Baruah,
/// Cohen, Plaxton and Varvel, "Proportionate progress", Algorithmica 15, 1996). Hence the bound: in the
/// first t turns each member has ⌊ts/N⌋ or ⌈ts/N⌉. Nginx's smooth weighted round-robin is as even, but looks
/// at every member each turn; this takes O(N log members).
pub(super) fn even_order(shares: &[u32]) -> Vec<usize> {
    let total: u64 = shares.iter().map(|&share| u64::from(share)).sum();
    let mut order = Vec::with_capacity(total as usize);
    let mut due: BinaryHeap<Turn> = BinaryHeap::with_capacity(shares.len());
    let mut waiting: BinaryHeap<Turn> = BinaryHeap::with_capacity(shares.len());
    let members = shares.iter().enumerate().filter(|&(_, &share)| share > 0);
    due.extend(members.map(|(member, &share)| Reverse((window_end(0, total, share), member, 0))));

    for now in 0..total {
        while let Some(&Reverse((start, member, turn))) = waiting.peek() {
            if start > now {
                break;
            }
            waiting.pop();
            due.push(Reverse((window_end(turn, total, shares[member]), member, turn)));
        }
        // Never empty: at each time the windows already open hold more turns than were taken.
        let Some(Reverse((_, member, turn))) = due.pop() else { break };
        order.push(member);
        let next = turn + 1;
        if next < u64::from(shares[member]) {
            waiting.push(Reverse((window_start(next, total, shares[member]), member, next)));
        }
    }
    order
}

fn window_start(turn: u64, total: u64, share: u32) -> u64 {
    turn * total / u64::from(share)
}

fn window_end(turn: u64, total: u64, share: u32) -> u64 {
    ((turn + 1) * total).div_ceil(u64::from(share))
}
