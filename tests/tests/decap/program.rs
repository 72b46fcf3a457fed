//! The real program, run on one frame at a time by `BPF_PROG_TEST_RUN`.

use std::net::IpAddr;

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, PerCpuArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    decap::{DECAP_COUNTERS, DecapVerdict},
    service::address_bytes,
};
use lb_userspace::dataplane::object;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// The loaded program; its maps are its own.
pub struct Program(Ebpf);

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: DecapVerdict,
    /// The frame that the kernel gets; `None` when it was dropped.
    pub frame: Option<Vec<u8>>,
}

impl Program {
    pub fn load(local: &[IpAddr], vips: &[IpAddr], gue_port: u16) -> Self {
        let mut object = EbpfLoader::new()
            .override_global("GUE_PORT", &gue_port, true)
            .load(object::DECAP)
            .unwrap_or_else(|error| panic!("{error:?}"));
        for (map, addresses) in [("DECAP_LOCAL", local), ("DECAP_VIPS", vips)] {
            let mut map: HashMap<_, [u8; 16], u8> = object.map_mut(map).unwrap().try_into().unwrap();
            for address in addresses {
                map.insert(address_bytes(*address), 1, 0).unwrap();
            }
        }
        let program: &mut Xdp = object.program_mut("decap").unwrap().try_into().unwrap();
        program.load().unwrap_or_else(|error| panic!("{error:?}"));
        Self(object)
    }

    /// Runs the program; fails unless the frame ended in exactly one counter.
    pub fn run(&self, frame: &[u8]) -> Outcome {
        let before = self.counters();
        let program: &Xdp = self.0.program("decap").unwrap().try_into().unwrap();
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        out.truncate(result.data_size_out as usize);
        let after = self.counters();
        let grown: Vec<u32> = (0..DECAP_COUNTERS)
            .filter(|&index| {
                let (before, after) = (before[index as usize], after[index as usize]);
                assert!(after == before || after == [before[0] + 1, before[1] + frame.len() as u64]);
                after != before
            })
            .collect();
        assert_eq!(grown.len(), 1, "counters {grown:?}");
        let verdict = *DecapVerdict::ALL.iter().find(|verdict| verdict.counter() == grown[0]).unwrap();
        let frame = match result.return_value {
            XDP_PASS => Some(out),
            XDP_DROP => None,
            other => panic!("XDP action {other}"),
        };
        Outcome { verdict, frame }
    }

    fn counters(&self) -> Vec<[u64; 2]> {
        let map: PerCpuArray<_, [u64; 2]> = self.0.map("DECAP_STATS").unwrap().try_into().unwrap();
        (0..DECAP_COUNTERS)
            .map(|index| {
                let values = map.get(&index, 0).unwrap();
                values.iter().fold([0; 2], |sum, value| [sum[0] + value[0], sum[1] + value[1]])
            })
            .collect()
    }
}
