#include "core/config/config.hpp"

#include "core/config/properties.hpp"

#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace minions::core {
namespace {

constexpr std::string_view from_command_line = "command line";
constexpr std::string_view from_default = "default";
constexpr std::string_view prefix = "runtimes.";

/// The NAME of "runtimes.NAME.socket", or empty for keys of core ("runtimes.default").
std::string_view runtime_of(std::string_view key) {
    if (!key.starts_with(prefix)) return {};
    const auto dot = key.find('.', prefix.size());
    return dot == std::string_view::npos ? std::string_view{}
                                         : key.substr(prefix.size(), dot - prefix.size());
}

const ConfigKey* find_key(const std::vector<ConfigKey>& schema, std::string_view name) {
    const auto found =
        std::find_if(schema.begin(), schema.end(), [&](const ConfigKey& key) { return key.name == name; });
    return found == schema.end() ? nullptr : &*found;
}

[[noreturn]] void refuse_unknown(std::string_view source, std::string_view key,
                                 const std::vector<ConfigKey>& schema) {
    std::vector<std::string_view> known;
    known.reserve(schema.size());
    for (const auto& candidate : schema) known.emplace_back(candidate.name);
    auto nearest = nearest_word(key, known);
    if (nearest.empty()) {
        // A word by itself is often the last part of the key that was meant.
        for (const auto name : known) {
            if (name.ends_with(fmt::format(".{}", key))) nearest = name;
        }
    }
    throw Error(Code::invalid, fmt::format("{}: unknown key '{}'", source, key),
                nearest.empty() ? "minions config lists the keys that there are"
                                : fmt::format("did you mean '{}'?", nearest));
}

Value parse_at(std::string_view source, const std::string& name, const ConfigKey& key,
               std::string_view text) {
    try {
        return parse_config_value(key, text);
    } catch (const Error& error) {
        throw Error(Code::invalid, fmt::format("{}: '{}' {}", source, name, error.message()), error.hint());
    }
}

std::string readable_by_others(const std::string& file, std::string_view key) {
    return fmt::format("{} holds the secret '{}' and everybody may read it; run: chmod o-r {}", file, key,
                       file);
}

}  // namespace

Config::Config(ConfigSources sources) : sources_(std::move(sources)), state_(read(sources_)) {}

Config::State Config::read(const ConfigSources& sources) {
    State state;
    state.schema = core_schema();
    for (const auto& key : state.schema) {
        state.values[key.name] = {key.default_value, parse_at(from_default, key.name, key, key.default_value),
                                  std::string(from_default)};
    }
    const auto take = [&](const std::string& name, const std::string& text, std::string source) {
        if (!runtime_of(name).empty()) {
            state.of_runtimes[name] = {text, {}, std::move(source)};
            return;
        }
        const auto* key = find_key(state.schema, name);
        if (key == nullptr) refuse_unknown(source, name, state.schema);
        auto value = parse_at(source, name, *key, text);
        state.values[name] = {text, std::move(value), std::move(source)};
    };

    if (!sources.file.empty()) {
        PropertyFile file;
        try {
            file = read_properties(sources.file);
        } catch (const Error& error) {
            if (error.code() != Code::not_found || !sources.file_may_be_absent) throw;
        }
        for (const auto& property : file.properties) {
            take(property.key, property.value, fmt::format("{}:{}", sources.file, property.line));
            const auto* key = find_key(state.schema, property.key);
            if (key != nullptr && key->secret && file.world_readable) {
                state.warnings.push_back(readable_by_others(sources.file, property.key));
            }
        }
    }
    for (const auto& [name, text] : sources.command_line) take(name, text, std::string(from_command_line));
    return state;
}

Value Config::get(std::string_view key, KeyType type) const {
    const auto state = state_.lock();
    const auto* declared = find_key(state->schema, key);
    if (declared == nullptr || declared->type != type) {
        throw std::logic_error(
            fmt::format("there is no configuration key '{}' of type {}", key, to_word(type)));
    }
    return state->values.find(key)->second.value;
}

std::string Config::string(std::string_view key) const { return get(key, KeyType::string).string_or(""); }
std::int64_t Config::integer(std::string_view key) const { return get(key, KeyType::integer).int_or(0); }
bool Config::boolean(std::string_view key) const { return get(key, KeyType::boolean).bool_or(false); }

std::vector<std::string> Config::list(std::string_view key) const {
    std::vector<std::string> elements;
    const Value value = get(key, KeyType::list);
    for (const auto& element : *value.if_array()) elements.push_back(element.string_or(""));
    return elements;
}

std::size_t Config::size(std::string_view key) const {
    return static_cast<std::size_t>(get(key, KeyType::size).int_or(0));
}

std::chrono::milliseconds Config::duration(std::string_view key) const {
    return std::chrono::milliseconds(get(key, KeyType::duration).int_or(0));
}

std::string Config::source(std::string_view key) const {
    const auto state = state_.lock();
    const auto found = state->values.find(key);
    if (found == state->values.end()) {
        throw std::logic_error(fmt::format("there is no configuration key '{}'", key));
    }
    return found->second.source;
}

Value Config::configure(std::string_view runtime, const std::vector<ConfigKey>& keys) {
    const auto state = state_.lock();
    state->claimed.emplace(runtime);
    const auto of_runtime = fmt::format("{}{}.", prefix, runtime);
    std::vector<ConfigKey> full(keys);
    for (auto& key : full) key.name = of_runtime + key.name;
    for (const auto& [name, entry] : state->of_runtimes) {
        if (runtime_of(name) == runtime && find_key(full, name) == nullptr) {
            refuse_unknown(entry.source, name, full);
        }
    }

    Value config = Value::object();
    std::map<std::string, Entry, std::less<>> values;
    for (std::size_t i = 0; i < full.size(); ++i) {
        const auto& key = full[i];
        const auto given = state->of_runtimes.find(key.name);
        if (given == state->of_runtimes.end() && key.required) {
            throw Error(Code::invalid,
                        fmt::format("the runtime '{}' needs a value for '{}'", runtime, key.name),
                        fmt::format("set it in the configuration file: {}", key.doc));
        }
        Entry entry = given == state->of_runtimes.end()
                          ? Entry{key.default_value, {}, std::string(from_default)}
                          : given->second;
        if (key.secret && entry.source == from_command_line) {
            throw Error(Code::invalid, fmt::format("command line: '{}' is a secret", key.name),
                        "put it into the configuration file: other users can read command lines");
        }
        // A number or boolean without a default has no value until somebody gives it one.
        const bool absent = entry.text.empty() && key.default_value.empty() && key.type != KeyType::string &&
                            key.type != KeyType::list;
        if (!absent) {
            entry.value = parse_at(entry.source, key.name, key, entry.text);
            config.set(keys[i].name, entry.value);
        }
        values[key.name] = std::move(entry);
    }
    for (auto& [name, entry] : values) state->values[name] = std::move(entry);
    for (auto& key : full) {
        if (find_key(state->schema, key.name) == nullptr) state->schema.push_back(std::move(key));
    }
    return config;
}

std::vector<std::string> Config::warnings() const {
    const auto state = state_.lock();
    auto warnings = state->warnings;
    for (const auto& key : state->schema) {
        if (!key.secret || runtime_of(key.name).empty()) continue;
        const auto& source = state->values.find(key.name)->second.source;
        if (source == from_default || source == from_command_line) continue;
        bool world_readable = false;
        try {
            world_readable = read_properties(sources_.file).world_readable;
        } catch (const Error&) {  // NOLINT(bugprone-empty-catch): it was readable when it was loaded
        }
        if (world_readable) warnings.push_back(readable_by_others(sources_.file, key.name));
    }
    return warnings;
}

std::vector<std::string> Config::unclaimed() const {
    const auto state = state_.lock();
    std::vector<std::string> warnings;
    for (const auto& [name, entry] : state->of_runtimes) {
        const auto runtime = runtime_of(name);
        if (state->claimed.contains(runtime)) continue;
        warnings.push_back(fmt::format("{}: '{}' has no effect, since no runtime '{}' is loaded",
                                       entry.source, name, runtime));
    }
    return warnings;
}

std::vector<Config::Item> Config::dump() const {
    const auto state = state_.lock();
    std::vector<Item> items;
    for (const auto& key : state->schema) {
        const auto& entry = state->values.find(key.name)->second;
        items.push_back({key.name, key.secret && !entry.text.empty() ? "***" : entry.text, entry.source});
    }
    for (const auto& [name, entry] : state->of_runtimes) {
        if (find_key(state->schema, name) == nullptr) items.push_back({name, "***", entry.source});
    }
    return items;
}

Config::Reloaded Config::reload() {
    State fresh = read(sources_);
    Reloaded result;
    const auto state = state_.lock();
    for (const auto& key : core_schema()) {
        auto& held = state->values.find(key.name)->second;
        auto& now = fresh.values.find(key.name)->second;
        if (held.value == now.value) {
            held.source = now.source;
            continue;
        }
        (key.reloadable ? result.changed : result.needs_restart).push_back(key.name);
        if (key.reloadable) held = std::move(now);
    }
    // Plugins get their configuration once, when they are opened.
    std::set<std::string> of_runtimes;
    for (const auto& [name, entry] : state->of_runtimes) of_runtimes.insert(name);
    for (const auto& [name, entry] : fresh.of_runtimes) of_runtimes.insert(name);
    for (const auto& name : of_runtimes) {
        const auto before = state->of_runtimes.find(name);
        const auto after = fresh.of_runtimes.find(name);
        const bool same = before != state->of_runtimes.end() && after != fresh.of_runtimes.end() &&
                          before->second.text == after->second.text;
        if (!same) result.needs_restart.push_back(name);
    }
    state->warnings = std::move(fresh.warnings);
    return result;
}

}  // namespace minions::core
