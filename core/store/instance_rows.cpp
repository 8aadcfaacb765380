#include "core/store/transaction_impl.hpp"

#include <minions/error.hpp>

#include <Poco/Data/SQLite/SQLiteException.h>
#include <fmt/format.h>

namespace minions::core {

namespace {

/// The spec without its environment, which has an encrypted column of its own.
std::string spec_text(const InstanceSpec& spec) {
    InstanceSpec shown = spec;
    shown.environment.clear();
    return to_json(encode(shown));
}

std::string sealed_environment(const Cipher& cipher, std::string_view id, const InstanceSpec& spec) {
    if (spec.environment.empty()) return "";
    return cipher.encrypt(to_json(encode(spec.environment)), id);
}

std::string state_text(const std::optional<RuntimeState>& state) {
    return state ? to_json(encode(*state)) : "";
}

[[noreturn]] void fail_name(std::string_view name) {
    throw Error{Code::conflict, fmt::format("VM '{}' already exists", name),
                "choose another name, or destroy it first"};
}

using Text = std::string;

}  // namespace

void Transaction::insert_instance(const InstanceRow& row) {
    if (!impl_.reserve->held())
        throw Error{
            Code::no_space,
            fmt::format("too little space is free in {} for another instance", impl_.directory.string()),
            "free some on that file system; destroying instances works meanwhile"};
    if (impl_.sql->number("SELECT count(*) FROM instances WHERE owner = ? AND name = ?", row.owner,
                          row.name) > 0)
        fail_name(row.name);
    impl_.sql->command(
        "INSERT INTO instances (id, owner, name, runtime, status, boot, created_at, spec, environment, state,"
        " facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row.id, row.owner, row.name, row.runtime, word_of(row.status), row.boot, row.created_at,
        spec_text(row.spec), sealed_environment(*impl_.cipher, row.id, row.spec), state_text(row.state),
        to_json(encode(row.facts)));
}

void Transaction::update_instance(const InstanceRow& row) {
    impl_.sql->command("UPDATE instances SET status = ?, boot = ?, facts = ? WHERE id = ?",
                       word_of(row.status), row.boot, to_json(encode(row.facts)), row.id);
}

void Transaction::update_instance_state(std::string_view id, const RuntimeState& state) {
    impl_.sql->command("UPDATE instances SET state = ? WHERE id = ?", to_json(encode(state)), id);
}

void Transaction::update_instance_spec(std::string_view id, const InstanceSpec& spec) {
    impl_.sql->command("UPDATE instances SET spec = ?, environment = ? WHERE id = ?", spec_text(spec),
                       sealed_environment(*impl_.cipher, id, spec), id);
}

void Transaction::rename_instance(std::string_view id, std::string_view name) {
    try {
        impl_.sql->command("UPDATE instances SET name = ? WHERE id = ?", name, id);
    } catch (const Poco::Data::SQLite::ConstraintViolationException&) {
        fail_name(name);
    }
}

void Transaction::delete_instance(std::string_view id) {
    impl_.sql->command("DELETE FROM instances WHERE id = ?", id);
    impl_.sql->command("DELETE FROM vm_slots WHERE instance = ?", id);
    impl_.sql->command("DELETE FROM image_uses WHERE instance = ?", id);
}

std::optional<std::int64_t> Transaction::vm_slot(std::string_view instance) {
    for (auto& [slot] :
         impl_.sql->query<Poco::Int64>("SELECT slot FROM vm_slots WHERE instance = ?", instance))
        return slot;
    return std::nullopt;
}

std::int64_t Transaction::vm_slot(std::string_view instance, std::int64_t count) {
    if (const auto slot = vm_slot(instance)) return *slot;
    // The first of a gap: 0, or one after a slot in use.
    const std::int64_t free = impl_.sql->number(
        "SELECT ifnull(min(free), -1) FROM (SELECT 0 AS free UNION ALL SELECT slot + 1 FROM vm_slots)"
        " WHERE free < ? AND free NOT IN (SELECT slot FROM vm_slots)",
        count);
    if (free < 0)
        throw Error{Code::no_space, fmt::format("all {} addresses for VMs are in use", count),
                    "destroy VMs, or widen network.subnet and vms.uid_count"};
    impl_.sql->command("INSERT INTO vm_slots (instance, slot) VALUES (?, ?)", instance, free);
    return free;
}

std::vector<InstanceRow> Transaction::instances() {
    std::vector<InstanceRow> rows;
    for (auto& [id, owner, name, runtime, status, boot, created_at, spec, environment, state, facts] :
         impl_.sql->query<Text, Text, Text, Text, Text, Poco::Int64, Text, Text, Text, Text, Text>(
             "SELECT id, owner, name, runtime, status, boot, created_at, spec, environment, state, facts"
             " FROM instances ORDER BY created_at, id")) {
        InstanceRow& row = rows.emplace_back();
        row.id = std::move(id);
        row.owner = std::move(owner);
        row.name = std::move(name);
        row.runtime = std::move(runtime);
        row.status = enum_from<Status>(status);
        row.boot = static_cast<std::uint64_t>(boot);
        row.created_at = std::move(created_at);
        row.spec = decode<InstanceSpec>(parse_json(spec), Unknown::ignore);
        if (!environment.empty())
            row.spec.environment = decode<std::map<std::string, std::string>>(
                parse_json(impl_.cipher->decrypt(environment, row.id)));
        if (!state.empty()) row.state = decode<RuntimeState>(parse_json(state), Unknown::ignore);
        row.facts = decode<InstanceFacts>(parse_json(facts), Unknown::ignore);
    }
    return rows;
}

void Transaction::put_diagnosis(const DiagnosisRow& row) {
    impl_.sql->command("INSERT OR REPLACE INTO diagnoses (owner, name, time, document) VALUES (?, ?, ?, ?)",
                       row.owner, row.name, row.time, document_text(row.document));
    // Names of failed creates can be many; the newest are the ones that somebody asks for.
    impl_.sql->command(
        "DELETE FROM diagnoses WHERE time < (SELECT time FROM diagnoses ORDER BY time DESC LIMIT 1 OFFSET"
        " 1000)");
}

std::optional<DiagnosisRow> Transaction::diagnosis(std::string_view owner, std::string_view name) {
    auto rows = impl_.sql->query<Text, Text>(
        "SELECT time, document FROM diagnoses WHERE owner = ? AND name = ?", owner, name);
    if (rows.empty()) return std::nullopt;
    auto& [time, document] = rows.front();
    return DiagnosisRow{std::string(owner), std::string(name), std::move(time), text_document(document)};
}

void Transaction::delete_diagnosis(std::string_view owner, std::string_view name) {
    impl_.sql->command("DELETE FROM diagnoses WHERE owner = ? AND name = ?", owner, name);
}

}  // namespace minions::core
