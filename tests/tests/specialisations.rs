//! The verifier takes the program in every specialisation: each feature alone, each pair of them, all and none. On older
//! kernels too: `cargo xtask kernels`.

use lb_common::meta::features;
use lb_tests::bed::Pins;
use lb_userspace::dataplane::{
    Sizes,
    loader::{Specialisation, load, remove_all},
};

/// Every feature by its bit.
fn bits() -> Vec<u32> {
    (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| features::ALL & bit != 0).collect()
}

#[test]
fn every_pair_of_features_passes_the_verifier() {
    let bits = bits();
    let pairs = bits.iter().enumerate().flat_map(|(i, a)| bits[i..].iter().map(move |b| a | b));
    let sizes = Sizes { services: 16, backends: 16, slots: 256, flows: 64 };
    let (mut loaded, mut most, mut refused) = (0, 0, Vec::new());
    for features in pairs.chain([0, features::ALL]) {
        let pins = Pins::new().unwrap();
        let wanted = Specialisation { features, log_level: 0, answer_rate: 1000, hash_key: [7; 16] };
        match load(&pins.dir(), sizes, wanted) {
            Ok(balancer) => {
                loaded += 1;
                let verified = balancer.program.info().unwrap().verified_instruction_count();
                most = most.max(verified.unwrap_or(0));
            }
            Err(error) => refused.push(format!("{features:#b}: {error}")),
        }
        remove_all(&pins.dir()).unwrap();
    }
    println!("{loaded} specialisations, at most {most} instructions");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert_eq!(loaded, bits.len() * (bits.len() + 1) / 2 + 2);
}
