//! The program does not grow unseen; see [`lb_bench::record`].

use anyhow::Result;
use lb_bench::record::Record;

#[test]
fn the_program_is_no_larger_than_recorded() -> Result<()> {
    let (known, now) = (Record::read()?, Record::measured()?);
    let outgrown = known.outgrown(&now);
    assert!(
        outgrown.is_empty(),
        "larger by more than 5 % than bench/sizes.json says; where that is meant, write it anew with \
         `cargo xtask bench --record` in the same commit:\n  {}",
        outgrown.join("\n  ")
    );
    if known.kernel != now.kernel {
        println!(
            "recorded on Linux {}, run on {}: only what the compiler made was compared",
            known.kernel, now.kernel
        );
    }
    Ok(())
}
