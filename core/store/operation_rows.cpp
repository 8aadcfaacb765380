#include "core/store/ids.hpp"
#include "core/store/transaction_impl.hpp"

namespace minions::core {

namespace {

using Text = std::string;

constexpr const char* operation_columns =
    "SELECT id, kind, subject, owner, status, stage, created_at, finished_at, error, result FROM operations ";

template <class... Args>
std::vector<OperationRow> select_operations(Sql& sql, const std::string& where, const Args&... args) {
    std::vector<OperationRow> rows;
    for (auto& [id, kind, subject, owner, status, stage, created_at, finished_at, error, result] :
         sql.query<Text, Text, Text, Text, Text, Text, Text, Text, Text, Text>(operation_columns + where,
                                                                               args...)) {
        OperationRow& row = rows.emplace_back();
        row.id = std::move(id);
        row.kind = std::move(kind);
        row.subject = std::move(subject);
        row.owner = std::move(owner);
        row.status = enum_from<OperationStatus>(status);
        row.stage = std::move(stage);
        row.created_at = std::move(created_at);
        row.finished_at = text_time(std::move(finished_at));
        row.error = text_document(error);
        row.result = text_document(result);
    }
    return rows;
}

template <class... Args>
std::vector<JournalRecord> select_journal(Sql& sql, const std::string& where, const Args&... args) {
    std::vector<JournalRecord> records;
    for (auto& [id, runtime, instance, operation, kind, key, held, created_at] :
         sql.query<Poco::Int64, Text, Text, Text, Text, Text, Poco::Int64, Text>(
             "SELECT id, runtime, instance, operation, kind, key, held, created_at FROM journal " + where +
                 " ORDER BY id DESC",
             args...)) {
        JournalRecord& record = records.emplace_back();
        record.row = {id, std::move(instance), std::move(kind), std::move(key), held != 0};
        record.runtime = std::move(runtime);
        record.operation = std::move(operation);
        record.created_at = std::move(created_at);
    }
    return records;
}

}  // namespace

void Transaction::insert_operation(const OperationRow& row) {
    impl_.sql->command(
        "INSERT INTO operations (id, kind, subject, owner, status, stage, created_at, finished_at, error,"
        " result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.id, row.kind, row.subject, row.owner, word_of(row.status), row.stage, row.created_at,
        time_text(row.finished_at), document_text(row.error), document_text(row.result));
}

void Transaction::update_operation_stage(std::string_view id, std::string_view stage) {
    impl_.sql->command("UPDATE operations SET stage = ? WHERE id = ?", stage, id);
}

void Transaction::finish_operation(const OperationRow& row) {
    impl_.sql->command(
        "UPDATE operations SET status = ?, stage = ?, finished_at = ?, error = ?, result = ? WHERE id = ?",
        word_of(row.status), row.stage, time_text(row.finished_at), document_text(row.error),
        document_text(row.result), row.id);
}

std::optional<OperationRow> Transaction::operation(std::string_view id) {
    auto rows = select_operations(*impl_.sql, "WHERE id = ?", id);
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
}

std::vector<OperationRow> Transaction::operations(std::size_t limit) {
    return select_operations(*impl_.sql, "ORDER BY number DESC LIMIT ?", limit);
}

std::vector<OperationRow> Transaction::running_operations() {
    return select_operations(*impl_.sql, "WHERE status = 'running' ORDER BY number");
}

void Transaction::prune_operations(std::size_t keep) {
    impl_.sql->command(
        "DELETE FROM operations WHERE status <> 'running' AND number <="
        " (SELECT coalesce(max(number), 0) FROM operations) - ?"
        " AND NOT EXISTS (SELECT 1 FROM idempotency WHERE idempotency.operation = operations.id)",
        keep);
}

std::int64_t Transaction::insert_journal(const JournalRecord& record) {
    impl_.sql->command(
        "INSERT INTO journal (runtime, instance, operation, kind, key, held, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        record.runtime, record.row.instance, record.operation, record.row.kind, record.row.key,
        record.row.held, record.created_at.empty() ? now_rfc3339() : record.created_at);
    return impl_.sql->number("SELECT last_insert_rowid()");
}

void Transaction::hold_journal(std::int64_t id) {
    impl_.sql->command("UPDATE journal SET held = 1 WHERE id = ?", id);
}

void Transaction::delete_journal(std::int64_t id) {
    impl_.sql->command("DELETE FROM journal WHERE id = ?", id);
}

void Transaction::delete_journal(std::string_view runtime, std::string_view instance, std::string_view kind,
                                 std::string_view key) {
    impl_.sql->command("DELETE FROM journal WHERE runtime = ? AND instance = ? AND kind = ? AND key = ?",
                       runtime, instance, kind, key);
}

std::vector<JournalRecord> Transaction::journal_of_instance(std::string_view instance) {
    return select_journal(*impl_.sql, "WHERE instance = ?", instance);
}

std::vector<JournalRecord> Transaction::journal_of_operation(std::string_view operation) {
    return select_journal(*impl_.sql, "WHERE operation = ?", operation);
}

std::vector<JournalRecord> Transaction::journal() { return select_journal(*impl_.sql, ""); }

std::vector<JournalRecord> Transaction::orphaned_journal(std::string_view runtime) {
    return select_journal(
        *impl_.sql,
        "WHERE runtime = ? AND NOT EXISTS (SELECT 1 FROM instances WHERE instances.id = journal.instance)"
        " AND NOT EXISTS (SELECT 1 FROM operations WHERE operations.id = journal.operation"
        " AND operations.status = 'running')",
        runtime);
}

void Transaction::assign_journal(std::string_view operation, std::string_view instance) {
    impl_.sql->command(
        "UPDATE journal SET instance = ? WHERE operation = ? AND instance = ''"
        " AND runtime <> ''",
        instance, operation);
}

void Transaction::insert_idempotency(const IdempotencyRow& row) {
    impl_.sql->command("DELETE FROM idempotency WHERE owner = ? AND key = ? AND route = ? AND expires_at < ?",
                       row.owner, row.key, row.route, now_rfc3339());
    impl_.sql->command(
        "INSERT INTO idempotency (owner, key, route, body_hash, operation, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        row.owner, row.key, row.route, row.body_hash, row.operation, row.expires_at);
}

std::optional<IdempotencyRow> Transaction::idempotency(std::string_view owner, std::string_view key,
                                                       std::string_view route) {
    auto rows = impl_.sql->query<Text, Text, Text>(
        "SELECT body_hash, operation, expires_at FROM idempotency"
        " WHERE owner = ? AND key = ? AND route = ? AND expires_at >= ?",
        owner, key, route, now_rfc3339());
    if (rows.empty()) return std::nullopt;
    auto& [body_hash, operation, expires_at] = rows.front();
    return IdempotencyRow{std::string(owner),   std::string(key),     std::string(route),
                          std::move(body_hash), std::move(operation), std::move(expires_at)};
}

void Transaction::prune_idempotency() {
    impl_.sql->command("DELETE FROM idempotency WHERE expires_at < ?", now_rfc3339());
}

}  // namespace minions::core
