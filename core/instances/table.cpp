#include "core/instances/table.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

namespace minions::core {

namespace {

bool matches(const InstanceView& view, const ListQuery& query) {
    if (view.row.owner != query.owner) return false;
    if (query.status && view.status != *query.status) return false;
    if (query.runtime && view.row.runtime != *query.runtime) return false;
    for (const auto& [key, value] : query.labels) {
        const auto label = view.row.spec.labels.find(key);
        if (label == view.row.spec.labels.end() || label->second != value) return false;
    }
    return true;
}

bool selects_all(const ListQuery& query) {
    return query.labels.empty() && !query.status && !query.runtime && !query.limit && !query.cursor;
}

std::string join(const std::vector<std::shared_ptr<const std::string>>& bodies) {
    std::size_t size = 2;
    for (const auto& body : bodies) size += body->size() + 1;
    std::string out;
    out.reserve(size);
    out += '[';
    for (const auto& body : bodies) {
        if (out.size() > 1) out += ',';
        out += *body;
    }
    out += ']';
    return out;
}

std::pair<std::string, std::string> parse_cursor(const std::string& cursor) {
    const auto at = cursor.find('_');
    if (at == std::string::npos || at == 0 || at + 1 == cursor.size())
        throw Error{Code::invalid, "field 'cursor' was not given out by this list",
                    "take it from the Link header of the page before, or leave it out"};
    return {cursor.substr(0, at), cursor.substr(at + 1)};
}

}  // namespace

InstanceViewPtr InstanceTable::find(std::string_view id) const {
    const auto state = state_.lock();
    const auto at = state->by_id.find(std::string(id));
    return at == state->by_id.end() ? nullptr : at->second;
}

InstanceViewPtr InstanceTable::find(const InstanceKey& key) const {
    const auto state = state_.lock();
    const auto at = state->by_name.find({key.owner, key.name});
    return at == state->by_name.end() ? nullptr : at->second;
}

std::vector<InstanceViewPtr> InstanceTable::all() const {
    const auto state = state_.lock();
    std::vector<InstanceViewPtr> views;
    views.reserve(state->ordered.size());
    for (const auto& [order, view] : state->ordered) views.push_back(view);
    return views;
}

std::vector<InstanceViewPtr> InstanceTable::views(const ListQuery& query) const {
    std::vector<InstanceViewPtr> selected;
    const auto state = state_.lock();
    for (const auto& [order, view] : state->ordered)
        if (matches(*view, query)) selected.push_back(view);
    return selected;
}

std::shared_ptr<const std::string> InstanceTable::whole_list(const std::string& owner) const {
    const auto cached = [&]() -> std::shared_ptr<const std::string> {
        const auto state = state_.lock();
        const auto at = state->whole.find(owner);
        return at == state->whole.end() ? nullptr : at->second;
    };
    if (auto body = cached()) return body;
    const std::lock_guard building(building_);
    if (auto body = cached()) return body;
    std::vector<std::shared_ptr<const std::string>> bodies;
    std::uint64_t version = 0;
    {
        const auto state = state_.lock();
        version = state->version;
        bodies.reserve(state->ordered.size());
        for (const auto& [order, view] : state->ordered)
            if (view->row.owner == owner) bodies.push_back(view->json);
    }
    auto body = std::make_shared<const std::string>(join(bodies));
    const auto state = state_.lock();
    if (state->version == version) state->whole[owner] = body;
    return body;
}

ListPage InstanceTable::list(const ListQuery& query) const {
    if (query.limit && (*query.limit < 1 || *query.limit > 1000))
        throw Error{Code::invalid, "field 'limit' must be from 1 to 1000"};
    if (selects_all(query)) return {whole_list(query.owner), std::nullopt};
    std::vector<std::shared_ptr<const std::string>> bodies;
    ListPage page;
    {
        const Order after = query.cursor ? parse_cursor(*query.cursor) : Order{};
        const auto state = state_.lock();
        Order last;
        for (auto at = state->ordered.upper_bound(after); at != state->ordered.end(); ++at) {
            if (!matches(*at->second, query)) continue;
            if (query.limit && bodies.size() == *query.limit) {
                page.next = last.first + "_" + last.second;
                break;
            }
            bodies.push_back(at->second->json);
            last = at->first;
        }
    }
    page.body = std::make_shared<const std::string>(join(bodies));
    return page;
}

std::map<std::pair<std::string, Status>, std::size_t> InstanceTable::counts() const {
    std::map<std::pair<std::string, Status>, std::size_t> counts;
    const auto state = state_.lock();
    for (const auto& [order, view] : state->ordered) ++counts[{view->row.runtime, view->status}];
    return counts;
}

void InstanceTable::forget(State& state, const InstanceView& view) {
    state.by_name.erase({view.row.owner, view.row.name});
    state.ordered.erase({view.row.created_at, view.row.id});
    ++state.version;
    state.whole.erase(view.row.owner);
}

void InstanceTable::put(InstanceViewPtr view) {
    const auto state = state_.lock();
    InstanceViewPtr& slot = state->by_id[view->row.id];
    if (slot) forget(*state, *slot);
    slot = view;
    state->by_name[{view->row.owner, view->row.name}] = view;
    ++state->version;
    state->whole.erase(view->row.owner);
    state->ordered[{view->row.created_at, view->row.id}] = std::move(view);
}

void InstanceTable::remove(std::string_view id) {
    const auto state = state_.lock();
    const auto at = state->by_id.find(std::string(id));
    if (at == state->by_id.end()) return;
    forget(*state, *at->second);
    state->by_id.erase(at);
}

void InstanceTable::set_state(std::string_view id, const RuntimeState& runtime_state) {
    const auto view = find(id);
    if (!view) return;
    auto copy = std::make_shared<InstanceView>(*view);
    copy->row.state = runtime_state;
    put(std::move(copy));
}

}  // namespace minions::core
