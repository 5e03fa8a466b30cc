//! The checkpoint against a model that does everything the slow and obvious way.

use proptest::prelude::*;

use super::chains::{arrived, traveller};
use super::*;
use crate::model::SkipReason;

#[derive(Clone, Debug)]
enum Op {
    /// A page of a range: (range, elder batches, latest batches with what they wait for, opens a
    /// tail, kept).
    Page {
        range: usize,
        elders: u8,
        latest: Vec<Option<u8>>,
        tail: bool,
        kept: u8,
        /// A batch of chains, whose latest items will wait for this number.
        chains: Option<u8>,
    },
    Claim {
        max: usize,
        wait: i64,
    },
    Release {
        pick: usize,
    },
    /// Settles as many as `settled` of a claimed batch; `fate` says how.
    Settle {
        pick: usize,
        settled: usize,
        fate: u8,
        retry: Option<i64>,
    },
    Reopen {
        cleanly: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_usize, 0..3_u8, proptest::collection::vec(proptest::option::of(any::<u8>()), 0..3), any::<bool>(), 0..3_u8, proptest::option::weighted(0.4, any::<u8>()))
            .prop_map(|(range, elders, latest, tail, kept, chains)| Op::Page { range, elders, latest, tail, kept, chains }),
        4 => (0..5_usize, 0..20_i64).prop_map(|(max, wait)| Op::Claim { max, wait }),
        1 => (0..9_usize).prop_map(|pick| Op::Release { pick }),
        6 => (0..9_usize, 0..4_usize, 0..5_u8, proptest::option::of(0..30_i64))
            .prop_map(|(pick, settled, fate, retry)| Op::Settle { pick, settled, fate, retry }),
        1 => any::<bool>().prop_map(|cleanly| Op::Reopen { cleanly }),
    ]
}

#[derive(Clone, Debug)]
struct ModelBatch {
    id: i64,
    range: i64,
    phase: Phase,
    seq: u64,
    after_seq: Option<u64>,
    items: Vec<Item>,
    is_claimed: bool,
    attempts: u32,
    not_before: Option<i64>,
    first_attempt: Option<i64>,
}

#[derive(Default)]
struct Model {
    ranges: Vec<RangeRow>,
    batches: Vec<ModelBatch>,
    failures: Vec<(i64, Key)>,
    outcomes: [u64; 4],
    kept: u64,
    planned: u64,
    next_id: i64,
    now: i64,
    keys: u64,
}

impl Model {
    fn new_items(&mut self, count: u64) -> Vec<Item> {
        let first = self.keys;
        self.keys += count;
        // A latest item shares its key with elders now and then.
        (first..self.keys).map(|n| item(&format!("key/{}", n % 7), &format!("v{n}"))).collect()
    }

    fn is_ready(&self, batch: &ModelBatch) -> bool {
        if batch.is_claimed || batch.not_before.is_some_and(|not_before| not_before > self.now) {
            return false;
        }
        let Some(after) = batch.after_seq.filter(|_| batch.phase == Phase::Latest) else { return true };
        let open_batch = self.batches.iter().any(|other| {
            // Of what a batch of chains has become, only the elders of the same keys count.
            let is_own = other.seq != batch.seq || other.id + 1 == batch.id;
            other.phase == Phase::Elders && other.range == batch.range && other.seq <= after && is_own
        });
        let tails = &self.ranges.iter().find(|range| range.id == batch.range).unwrap().tails;
        let open_tail = tails.iter().any(|tail| tail.phase == Phase::Elders && tail.seq <= after);
        !open_batch && !open_tail
    }

    /// Takes note of a claim of at most `max` batches, and checks that it may answer these ids: any
    /// that are ready, as many as there are, and of each range what is due first and in order.
    fn claim(&mut self, max: usize, answered: &[i64]) -> (Vec<ModelBatch>, Option<i64>) {
        let ready: Vec<_> = self.batches.iter().filter(|batch| self.is_ready(batch)).collect();
        assert_eq!(answered.len(), max.min(ready.len()), "of {ready:?}");
        for range in &self.ranges {
            let of_range: Vec<_> = ready.iter().filter(|batch| batch.range == range.id).collect();
            let mut due: Vec<_> =
                of_range.iter().filter_map(|batch| Some((batch.not_before?, batch.id))).collect();
            due.sort_unstable();
            let mut taken = answered.iter().filter(|id| of_range.iter().any(|batch| batch.id == **id));
            for (_, id) in &due {
                assert!(taken.next().is_none_or(|taken| taken == id), "{answered:?} of {due:?}");
            }
        }
        assert!(answered.iter().all(|id| ready.iter().any(|batch| batch.id == *id)), "{answered:?}");
        let mut taken = Vec::new();
        for id in answered {
            let batch = self.batches.iter_mut().find(|batch| batch.id == *id).unwrap();
            assert!(!batch.is_claimed, "{id} is handed out twice");
            batch.is_claimed = true;
            taken.push(batch.clone());
        }
        let mut later = Model { now: i64::MAX, ranges: self.ranges.clone(), ..Model::default() };
        later.batches.clone_from(&self.batches);
        let waiting = later.batches.iter().filter(|batch| later.is_ready(batch));
        let next = waiting.map(|batch| batch.not_before.unwrap_or(i64::MIN).max(self.now)).min();
        (taken, next)
    }

    fn blocked(&self, batch: &ModelBatch) -> Vec<usize> {
        let failed = |item: &Item| self.failures.contains(&(batch.range, item.key.clone()));
        let indices = batch.items.iter().enumerate().filter(|(_, item)| failed(item));
        if batch.phase == Phase::Latest { indices.map(|(index, _)| index).collect() } else { Vec::new() }
    }

    /// Items of a chain were moved: they are batches of deletions now, the latest behind the others.
    fn deletions(&mut self, chain: &ModelBatch, items: &[Item], made: Moved) {
        let own = if made.elders.is_some() { Some(chain.seq) } else { chain.seq.checked_sub(1) };
        let after = own.max(chain.after_seq.filter(|after| *after > chain.seq));
        for (phase, id) in [(Phase::Elders, made.elders), (Phase::Latest, made.latest)] {
            let is_of = |item: &&Item| item.is_latest == (phase == Phase::Latest);
            let items: Vec<Item> = items.iter().filter(is_of).cloned().map(arrived).collect();
            assert_eq!(id.is_some(), !items.is_empty());
            let Some(id) = id else { continue };
            assert_eq!(id, self.next_id);
            self.next_id += 1;
            self.batches.push(ModelBatch {
                id,
                range: chain.range,
                phase,
                seq: chain.seq,
                after_seq: after.filter(|_| phase == Phase::Latest),
                items,
                is_claimed: false,
                attempts: 0,
                not_before: None,
                first_attempt: None,
            });
        }
    }

    fn check(&self, totals: &Totals) {
        totals.check().unwrap();
        let count = |claimed: bool| -> u64 {
            let chosen = self.batches.iter().filter(|batch| batch.is_claimed == claimed);
            chosen.map(|batch| batch.items.len() as u64).sum()
        };
        assert_eq!((totals.kept().versions, totals.planned().versions), (self.kept, self.planned));
        assert_eq!((totals.pending.versions, totals.in_flight.versions), (count(false), count(true)));
        assert_eq!(totals.waiting.versions, self.ranges.iter().map(RangeRow::waiting).sum::<u64>());
        assert_eq!(totals.open_batches, self.batches.len() as u64);
        let found = [totals.done(), totals.gone(), totals.failed(), totals.skipped()];
        assert_eq!(found.map(|amount| amount.versions), self.outcomes);
    }
}

struct World {
    model: Model,
    checkpoint: Checkpoint,
    journal: MemoryJournal,
    folder: tempfile::TempDir,
    openings: u32,
}

/// An unfinished batch that goes out as it is.
fn closed(tail: &Tail) -> NewBatch {
    let Tail { phase, action, seq, after_seq, ref items } = *tail;
    NewBatch { phase, action, seq, after_seq, items: items.to_vec() }
}

impl World {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(format!("run-{}.sqlite", self.openings))
    }

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = MemoryJournal::default();
        let path = folder.path().join("run-0.sqlite");
        let checkpoint = Checkpoint::create(&path, &header(), journal.boxed()).unwrap();
        let ranges =
            checkpoint.add_ranges(vec![whole_bucket(), whole_bucket(), whole_bucket()]).await.unwrap();
        let model = Model { ranges, next_id: 1, ..Model::default() };
        Self { model, checkpoint, journal, folder, openings: 0 }
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Page { range, elders, latest, tail, kept, chains } => {
                self.page(range, elders, &latest, tail, kept, chains).await;
            }
            Op::Claim { max, wait } => self.claim(max, wait).await,
            Op::Release { pick } => {
                let Some(index) = self.claimed(pick) else { return };
                self.checkpoint.release(vec![self.model.batches[index].id]).await.unwrap();
                self.model.batches[index].is_claimed = false;
            }
            Op::Settle { pick, settled, fate, retry } => self.settle(pick, settled, fate, retry).await,
            Op::Reopen { cleanly } => self.reopen(cleanly).await,
        }
        self.model.check(&self.checkpoint.totals().await.unwrap());
        assert_eq!(
            self.journal.sealed().len() as u64,
            self.model.kept + self.model.outcomes.iter().sum::<u64>()
        );
    }

    fn claimed(&self, pick: usize) -> Option<usize> {
        let claimed: Vec<_> =
            (0..self.model.batches.len()).filter(|index| self.model.batches[*index].is_claimed).collect();
        (!claimed.is_empty()).then(|| claimed[pick % claimed.len()])
    }

    async fn page(
        &mut self,
        range: usize,
        elder_count: u8,
        latest_after: &[Option<u8>],
        tail: bool,
        kept: u8,
        chains: Option<u8>,
    ) {
        let old = self.model.ranges[range].clone();
        let mut batches: Vec<NewBatch> = old.tails.iter().map(closed).collect();
        let mut next_seq = old.next_seq;
        for _ in 0..elder_count {
            batches.push(elders(next_seq, self.model.new_items(3)));
            next_seq += 1;
        }
        let mut tails = Vec::new();
        if tail {
            let items = self.model.new_items(2);
            tails.push(Tail {
                phase: Phase::Elders,
                action: ActionId(0),
                seq: next_seq,
                after_seq: None,
                items: items.into(),
            });
            next_seq += 1;
        }
        for after in latest_after {
            let after_seq = after.filter(|_| next_seq > 0).map(|after| u64::from(after) % next_seq);
            batches.push(latest(next_seq, after_seq, self.model.new_items(3)));
            next_seq += 1;
        }
        if let Some(after) = chains {
            // Each holds a key's latest, which must wait for the number of the batch too.
            let after_seq = (next_seq > 0).then(|| u64::from(after) % next_seq);
            let mut items: Vec<Item> = self.model.new_items(3).into_iter().map(traveller).collect();
            items[0].is_latest = true;
            batches.push(NewBatch { after_seq, ..elders(next_seq, items) });
            next_seq += 1;
        }
        let names = ["k", "l", "m"];
        let new = RangeRow { tails, next_seq, ..old.clone() };
        let page = page(&old, new, batches, &names[..usize::from(kept)]);
        self.model.kept += u64::from(kept);
        self.model.planned += page.range.planned - old.planned;
        for batch in &page.batches {
            self.model.batches.push(ModelBatch {
                id: self.model.next_id,
                range: old.id,
                phase: batch.phase,
                seq: batch.seq,
                after_seq: batch.after_seq,
                items: batch.items.clone(),
                is_claimed: false,
                attempts: 0,
                not_before: None,
                first_attempt: None,
            });
            self.model.next_id += 1;
        }
        self.model.ranges[range] = page.range.clone();
        self.checkpoint.commit_page(page).await.unwrap();
    }

    async fn claim(&mut self, max: usize, wait: i64) {
        self.model.now += wait;
        let claims = self.checkpoint.claim(max, at(self.model.now)).await.unwrap();
        let ids: Vec<i64> = claims.batches.iter().map(|claimed| claimed.batch.id).collect();
        let (expected, next_ready) = self.model.claim(max, &ids);
        for (found, batch) in claims.batches.iter().zip(&expected) {
            assert_eq!(found.batch.items, batch.items);
            assert_eq!((found.batch.range, found.batch.phase), (batch.range, batch.phase));
            assert_eq!(found.batch.attempts, batch.attempts);
            assert_eq!(found.batch.first_attempt.map(Timestamp::as_millis), batch.first_attempt);
            assert_eq!(found.blocked, self.model.blocked(batch));
        }
        assert_eq!(claims.next_ready.map(Timestamp::as_millis), next_ready);
        assert_eq!(claims.open, self.model.batches.len() as u64);
    }

    async fn settle(&mut self, pick: usize, count: usize, fate: u8, retry: Option<i64>) {
        let Some(index) = self.claimed(pick) else { return };
        let batch = self.model.batches[index].clone();
        let (now, later) = batch.items.split_at(count.min(batch.items.len()));
        let is_chain = batch.items[0].copy.as_ref().is_some_and(|copy| copy.copied.is_none());
        // A fate that only chains know.
        let moves = fate == 4 && is_chain;
        let fate = if fate == 4 { 0 } else { fate };
        let outcome = match fate {
            0 => Outcome::Done,
            1 => Outcome::Gone,
            2 => failed(),
            _ => Outcome::Skipped(SkipReason::ElderRemains),
        };
        let records = now.iter().filter(|_| !moves).map(|item| settled(item, outcome.clone())).collect();
        let mut settlement = settlement(batch.id, records);
        settlement.moved = now.iter().filter(|_| moves).cloned().map(arrived).collect();
        settlement.remaining = later.to_vec();
        settlement.retry = retry.map(|wait| Retry {
            not_before: at(self.model.now + wait),
            first_attempt: at(batch.first_attempt.unwrap_or(self.model.now)),
        });
        if is_chain {
            self.note_steps(&batch).await;
        }
        let moved = self.checkpoint.settle(settlement).await.unwrap();
        if moves {
            self.model.deletions(&batch, now, moved);
        } else {
            assert_eq!(moved, Moved::default());
            self.model.outcomes[usize::from(fate)] += now.len() as u64;
        }
        if is_chain {
            let left: Vec<_> = later.iter().map(|item| item.version_id.clone()).collect();
            let (_, steps) = self.checkpoint.chains(batch.id).await.unwrap();
            assert_eq!(steps.len(), left.len());
            assert!(steps.iter().all(|step| left.contains(&step.version_id)));
        }
        if fate >= 2 {
            self.model.failures.extend(now.iter().map(|item| (batch.range, item.key.clone())));
        }
        if later.is_empty() {
            self.model.batches.remove(index);
            return;
        }
        let rest = &mut self.model.batches[index];
        (rest.is_claimed, rest.items) = (false, later.to_vec());
        if let Some(wait) = retry {
            rest.attempts += 1;
            rest.not_before = Some(self.model.now + wait);
            rest.first_attempt = rest.first_attempt.or(Some(self.model.now));
        }
    }

    /// Notes a step for each item of a batch of chains.
    async fn note_steps(&self, batch: &ModelBatch) {
        for item in &batch.items {
            let state = StepState::Upload { upload_id: "u".into(), part_bytes: 1 };
            let (key, version_id) = (item.key.clone(), item.version_id.clone());
            self.checkpoint.put_step(batch.id, Step { key, version_id, state }).await.unwrap();
        }
    }

    /// Ends the process of the checkpoint, cleanly or not, and goes on in another.
    async fn reopen(&mut self, cleanly: bool) {
        let old = self.path();
        self.openings += 1;
        if cleanly {
            self.checkpoint.clone().close().await.unwrap();
        }
        copy_as_after_a_crash(&old, &self.path(), None);
        self.checkpoint = Checkpoint::open(&self.path(), self.journal.boxed()).unwrap();
        assert_eq!(self.checkpoint.epoch(), u64::from(self.openings) + 1);
        assert_eq!(self.checkpoint.ranges().await.unwrap(), self.model.ranges);
        for batch in &mut self.model.batches {
            batch.is_claimed = false;
            // The time that no process worked counts for no item.
            batch.first_attempt = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_checkpoint_does_what_the_model_does(ops in proptest::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for op in ops {
                world.run(op).await;
            }
            let path = world.path();
            world.checkpoint.clone().close().await.unwrap();
            Snapshot::open(&path).unwrap().check().unwrap();
        });
    }
}
