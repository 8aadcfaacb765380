#pragma once

#include "core/events/event.hpp"
#include "core/store/rows.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// What fn of Store::transact() works on; valid only within it, on its thread. Every function throws no_space
/// when the disk is full, unavailable when the file cannot be read or written, conflict for a row that is
/// there already; after any of these leave the transaction, everything in it is undone.
class Transaction {
  public:
    /// `what` is done once the commit is on disk and before any later transaction begins: for what is kept
    /// in memory. Must neither throw nor use the store.
    void after_commit(std::function<void()> what);

    /// Adds an event to this commit; returns its id.
    std::int64_t event(std::string_view type, std::string_view subject, Value data);
    /// At most `limit` events with ids after `after`, in order.
    std::vector<Event> events(std::int64_t after, std::size_t limit);
    /// Ids of the oldest and newest event kept; {0, 0} if there are none.
    std::pair<std::int64_t, std::int64_t> event_range();

    void insert_instance(const InstanceRow& row);
    /// Status, boot and facts.
    void update_instance(const InstanceRow& row);
    void update_instance_state(std::string_view id, const RuntimeState& state);
    void update_instance_spec(std::string_view id, const InstanceSpec& spec);
    /// Throws conflict if another instance of the owner has that name.
    void rename_instance(std::string_view id, std::string_view name);
    void delete_instance(std::string_view id);
    /// The instance's slot, from 0 and below `count`: the one that it has, or the lowest that is free, which
    /// is its own until delete_instance(). Throws no_space if there is none.
    std::int64_t vm_slot(std::string_view instance, std::int64_t count);
    /// The one that it has, if any.
    std::optional<std::int64_t> vm_slot(std::string_view instance);
    std::vector<InstanceRow> instances();

    void insert_operation(const OperationRow& row);
    void update_operation_stage(std::string_view id, std::string_view stage);
    /// Status, stage, finished_at, error and result.
    void finish_operation(const OperationRow& row);
    std::optional<OperationRow> operation(std::string_view id);
    /// Newest first.
    std::vector<OperationRow> operations(std::size_t limit);
    std::vector<OperationRow> running_operations();
    /// Removes the oldest finished operations beyond `keep`, with the idempotency keys that name them only
    /// once those have expired.
    void prune_operations(std::size_t keep);

    std::int64_t insert_journal(const JournalRecord& record);
    void hold_journal(std::int64_t id);
    void delete_journal(std::int64_t id);
    void delete_journal(std::string_view runtime, std::string_view instance, std::string_view kind,
                        std::string_view key);
    /// Newest first, as undo walks them.
    std::vector<JournalRecord> journal_of_instance(std::string_view instance);
    std::vector<JournalRecord> journal_of_operation(std::string_view operation);
    std::vector<JournalRecord> journal();
    /// Those of a runtime that nobody will undo any more: their instance is gone, or they never had one, and
    /// no operation under way made them. Newest first.
    std::vector<JournalRecord> orphaned_journal(std::string_view runtime);
    /// Gives the rows of an operation that belong to no instance (a built image) to the instance: its destroy
    /// undoes them. Rows of core's own (without a runtime) stay.
    void assign_journal(std::string_view operation, std::string_view instance);

    void insert_token(const TokenRow& row);
    std::vector<TokenRow> tokens();
    /// False if there was none of that id.
    bool delete_token(std::string_view id);

    void insert_idempotency(const IdempotencyRow& row);
    /// Nothing once it has expired.
    std::optional<IdempotencyRow> idempotency(std::string_view owner, std::string_view key,
                                              std::string_view route);
    void prune_idempotency();

    void insert_deployment(const DeploymentRow& row);
    /// All columns but id, owner, agent_name, created_at and request.
    void update_deployment(const DeploymentRow& row);
    std::optional<DeploymentRow> deployment(std::string_view id);
    /// Newest first; all agents if `agent_name` is empty.
    std::vector<DeploymentRow> deployments(std::string_view owner, std::string_view agent_name,
                                           std::size_t limit);
    /// Those without finished_at: what a restart interrupted.
    std::vector<DeploymentRow> unfinished_deployments();
    void delete_deployment(std::string_view id);

    /// One that is there already stays as it is.
    void insert_image(const ImageRow& row);
    std::vector<ImageRow> images();
    void delete_image(std::string_view id);
    void insert_image_tag(const ImageTagRow& row);
    std::vector<ImageTagRow> image_tags();
    void delete_image_tag(std::string_view owner, std::string_view name);
    /// The image that an instance holds, until delete_instance() or delete_image_use().
    std::optional<std::string> image_of(std::string_view instance);
    void insert_image_use(std::string_view instance, std::string_view image);
    void delete_image_use(std::string_view instance);
    /// Ids of the instances that hold it.
    std::vector<std::string> image_users(std::string_view image);

    /// Replaces what was kept under that name.
    void put_diagnosis(const DiagnosisRow& row);
    std::optional<DiagnosisRow> diagnosis(std::string_view owner, std::string_view name);
    void delete_diagnosis(std::string_view owner, std::string_view name);

  private:
    friend class Store;
    struct Impl;
    explicit Transaction(Impl& impl) : impl_(impl) {}
    Impl& impl_;
};

struct StoreOptions {
    std::size_t events_kept = 100000;
};

/// The state directory: the database, the key that encrypts secrets in it, and the lock that keeps a second
/// daemon out. Thread-safe; one writer at a time.
class Store {
  public:
    /// Makes the directory (0711, or 0700 where the daemon is not root) if it is not there, takes its lock, reads or makes the key, opens the
    /// database and migrates it, keeping a copy beside it (state.db.v<N>.backup) of what was there.
    /// Throws conflict (another daemon holds the directory), unavailable (a newer schema, a damaged file, a
    /// key file of others or lost), no_space.
    explicit Store(const std::filesystem::path& directory, StoreOptions options = {});
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    /// Runs fn in one transaction (BEGIN IMMEDIATE) and commits it, durably, when fn returns; undoes it when
    /// fn throws. Never call a runtime, or this function, from within. When the disk is full, the space kept
    /// in reserve is given up and the transaction runs once more, so that what deletes can still succeed: fn
    /// may be called twice and must not keep what it did the first time. [any thread]
    template <class Fn>
    auto transact(Fn&& fn) {
        if constexpr (std::is_void_v<std::invoke_result_t<Fn&, Transaction&>>) {
            run([&](Transaction& transaction) { fn(transaction); });
        } else {
            std::optional<std::invoke_result_t<Fn&, Transaction&>> result;
            run([&](Transaction& transaction) { result.emplace(fn(transaction)); });
            return std::move(*result);
        }
    }

    /// 12 characters, made with the database; marks every outside object.
    const std::string& installation() const noexcept;
    const std::filesystem::path& directory() const noexcept;

    /// Called after each commit with its events, before the next transaction can begin. One listener; an
    /// empty function removes it. Must not throw nor use the store.
    void set_event_listener(std::function<void(const std::vector<Event>&)> listener);

  private:
    void run(const std::function<void(Transaction&)>& fn);

    std::unique_ptr<Transaction::Impl> impl_;
};

}  // namespace minions::core
