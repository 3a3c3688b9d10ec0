//! The number of threads changes no bit of any op.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use attune_compute::cpu::{Cpu, Isa};
use attune_compute::{
    AdamWArgs, AttentionArgs, Backend, ComputeError, DType, Dropout, LinearArgs, RopeTable, SidePath, SidePathGradient,
};
use common::*;

/// Every op on odd sizes that are large enough to be cut into many tasks; all results, by name.
fn everything(cpu: &Cpu) -> Vec<(&'static str, Vec<u32>)> {
    let mut all = in_type(cpu, DType::F32);
    all.extend(in_type(cpu, cpu.activation_dtype(DType::Bf16)));
    all
}

/// The same with activations of this type.
fn in_type(cpu: &Cpu, activations: DType) -> Vec<(&'static str, Vec<u32>)> {
    let tensor = |seed, rows, cols| tensor(seed, rows, cols).to_dtype(activations);
    let (tokens, inputs, outputs, rank) = (131, 261, 197, 9);
    let (x, dy) = (tensor(1, tokens, inputs), tensor(2, tokens, outputs));
    let weight = weight(DType::Bf16, 3, outputs, inputs);
    let (a, b, bias) = (values(4, rank * inputs), values(5, outputs * rank), values(6, outputs));
    let row_keys: Vec<u64> = (0..tokens as u64).collect();
    let dropout = Some(Dropout { rate: 0.1, key: 7, row_keys: &row_keys });
    let side = Some(SidePath { a: &a, b: &b, rank, scale: 2.0, dropout });
    let args = LinearArgs { weight: &weight, bias: Some(&bias), side, residual: None };
    let forward = cpu.linear_forward(&x, &args);
    let (mut da, mut db) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    let gradient = SidePathGradient { da: &mut da, db: &mut db };
    let h = forward.low_rank.unwrap();
    let dx = cpu.linear_backward(&x, Some(&h), &dy, &args, Some(gradient), true).unwrap();
    let few_rows =
        cpu.linear_forward(&tensor(8, 3, 1027), &LinearArgs::frozen(&common::weight(DType::F16, 9, 700, 1027), None));

    let segments = [0, 400, 401, 555];
    let attention =
        AttentionArgs { heads: 6, kv_heads: 3, head_dim: 20, scale: 0.2, window: Some(333), segments: &segments };
    let (q, k, v, d_o) = (tensor(1, 555, 120), tensor(2, 555, 60), tensor(3, 555, 60), tensor(4, 555, 120));
    let output = cpu.attention_forward(&q, &k, &v, &attention);
    let (dq, dk, dv) = cpu.attention_backward(&q, &k, &v, &output, &d_o, &attention);
    let (k_cache, v_cache) = (k.to_dtype(DType::F32), v.to_dtype(DType::F32));
    let cached = cpu.attention_cached(&tensor(5, 7, 120), k_cache.data(), v_cache.data(), 540, &attention);

    let gain = values(7, inputs);
    let table = RopeTable::new(&[1.0, 0.3, 0.1, 0.03, 0.01], 600);
    let positions: Vec<u32> = (0..555).collect();
    let mut rotated = q.clone();
    cpu.rope_forward(&mut rotated, &positions, &table);
    let mut sum = k_cache.clone();
    cpu.add_assign(&mut sum, &v_cache);
    let (dgate, dup) = cpu.swiglu_backward(&q, &d_o, &rotated);
    let targets: Vec<u32> = (0..tokens as u32).collect();
    let head = cpu.head_logprobs(&x, &common::weight(DType::F32, 12, 1501, inputs), &targets, 0.1, true);

    let vocabulary_weight = common::weight(DType::F32, 12, 1501, inputs);
    let mut dhead = vec![0.0; 1501 * inputs];
    let coefficients = values(13, tokens);
    let head_dx = cpu.head_backward(&x, &vocabulary_weight, &targets, 0.1, &coefficients, &mut dhead);
    let (mut dw, mut dbias) = (values(14, outputs * inputs), values(15, outputs));
    cpu.linear_weight_backward(&x, &dy, &mut dw, Some(&mut dbias));
    let (mut dgain, mut dtable) = (values(16, 120), values(17, 50 * 60));
    cpu.rms_norm_gain_backward(&q, 1e-6, &d_o, &mut dgain);
    let ids: Vec<u32> = (0..555).map(|t| t * t % 50).collect();
    cpu.embedding_backward(&ids, &k_cache, &mut dtable);

    let n = 50_001;
    let (mut p, mut m, mut second) = (values(1, n), values(2, n), absolute(&values(3, n)));
    let adamw = AdamWArgs {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        step: 3,
        gradient_scale: 0.5,
    };
    cpu.adamw(&mut p, &values(4, n), &mut m, &mut second, &adamw);
    let squares = cpu.sum_squares(&values(9, n)).to_bits();

    vec![
        ("linear y", tensor_bits(&forward.y)),
        ("linear h", tensor_bits(&h)),
        ("linear dx", tensor_bits(&dx)),
        ("linear da", bits(&da)),
        ("linear db", bits(&db)),
        ("linear of few rows", tensor_bits(&few_rows.y)),
        ("embedding", tensor_bits(&cpu.embedding_forward(&weight, &[5, 196, 0, 5]))),
        ("attention o", tensor_bits(&output.o)),
        ("attention lse", tensor_bits(&output.lse)),
        ("attention dq", tensor_bits(&dq)),
        ("attention dk", tensor_bits(&dk)),
        ("attention dv", tensor_bits(&dv)),
        ("attention cached", tensor_bits(&cached)),
        ("rms norm", tensor_bits(&cpu.rms_norm_forward(&x, &gain, 1e-6, DType::F32))),
        ("rms norm dx", tensor_bits(&norm_backward(cpu, &x, &gain, 1e-6, &x))),
        ("rope", tensor_bits(&rotated)),
        ("sum", tensor_bits(&sum)),
        ("swiglu", tensor_bits(&cpu.swiglu_forward(&q, &d_o))),
        ("swiglu dgate", tensor_bits(&dgate)),
        ("swiglu dup", tensor_bits(&dup)),
        ("head logprobs", bits(&head.logprobs)),
        ("head smoothed", bits(&head.smoothed)),
        ("head dx", tensor_bits(&head.dx.unwrap())),
        ("head dx with a gradient of the head", tensor_bits(&head_dx)),
        ("head dW", bits(&dhead)),
        ("linear dW", bits(&dw)),
        ("linear dbias", bits(&dbias)),
        ("rms norm dgain", bits(&dgain)),
        ("embedding dtable", bits(&dtable)),
        ("head logits", tensor_bits(&cpu.head_logits(&tensor(3, 2, inputs), &weight))),
        ("adamw", [bits(&p), bits(&m), bits(&second)].concat()),
        ("sum of squares", vec![squares as u32, (squares >> 32) as u32]),
    ]
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for isa in Isa::ALL {
        if !isa.is_available() {
            println!("SKIPPED: {isa}: this machine lacks it");
            continue;
        }
        let expected = everything(&Cpu::with_isa(isa, Some(1)).unwrap());
        for threads in [2, 3, 5] {
            let cpu = Cpu::with_isa(isa, Some(threads)).unwrap();
            // Twice: the order in which threads take tasks differs from run to run.
            for _ in 0..2 {
                for ((name, expected), (_, got)) in expected.iter().zip(everything(&cpu)) {
                    assert!(*expected == got, "{name} with {threads} threads on {isa}");
                }
            }
        }
    }
}

/// Ops may be called from several threads at once, and from inside somebody else's rayon pool.
#[test]
fn calls_from_several_threads() {
    let cpu = Cpu::new(Some(3)).unwrap();
    let expected = everything(&cpu);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(everything(&cpu) == expected));
        }
    });
    let (first, second) = rayon::join(|| everything(&cpu), || everything(&cpu));
    assert!(first == expected && second == expected);
}

#[test]
fn names_and_wrong_numbers_of_threads() {
    let cpu = Cpu::with_isa(Isa::Portable, Some(2)).unwrap();
    assert_eq!(cpu.name(), "cpu (portable, 2 threads)");
    assert_eq!(Cpu::with_isa(Isa::Portable, Some(1)).unwrap().name(), "cpu (portable, 1 thread)");
    assert_eq!((cpu.isa(), cpu.threads()), (Isa::Portable, 2));
    assert!(Cpu::new(None).unwrap().threads() >= 1);
    for threads in [0, usize::MAX] {
        let error = Cpu::with_isa(Isa::Portable, Some(threads)).unwrap_err();
        assert!(matches!(error, ComputeError::Threads { threads: t, .. } if t == threads), "{error}");
    }
}
