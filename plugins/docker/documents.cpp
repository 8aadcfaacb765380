#include "plugins/docker/documents.hpp"

#include "plugins/docker/labels.hpp"

#include <fmt/format.h>

#include <charconv>
#include <ctime>

namespace minions::docker {
namespace {

constexpr std::int64_t mib = 1024 * 1024;
constexpr std::int64_t cpu_nanos = 1'000'000'000;

Value string_array(const std::vector<std::string>& items) {
    Value array = Value::array();
    for (const auto& item : items) array.push(item);
    return array;
}

Value environment_array(const std::map<std::string, std::string>& environment) {
    Value array = Value::array();
    for (const auto& [key, value] : environment) array.push(key + "=" + value);
    return array;
}

/// Swap is bounded by the same figure: a limit that spills into swap is none.
void set_limits(Value& document, std::optional<int> cpus, std::optional<std::int64_t> memory_mb) {
    if (cpus) document.set("NanoCpus", *cpus * cpu_nanos);
    if (memory_mb) {
        document.set("Memory", *memory_mb * mib);
        document.set("MemorySwap", *memory_mb * mib);
    }
}

void set_ports(Value& document, Value& host, const std::vector<PortSpec>& ports) {
    if (ports.empty()) return;
    Value exposed = Value::object();
    Value bindings = Value::object();
    for (const auto& port : ports) {
        const std::string key = fmt::format("{}/{}", port.port, port.protocol);
        exposed.set(key, Value::object());
        const std::string host_port = port.host_port == 0 ? "" : std::to_string(port.host_port);
        Value binding = Value::object({{"HostIp", port.address}, {"HostPort", host_port}});
        if (Value* there = bindings.find(key)) {
            there->push(std::move(binding));
        } else {
            bindings.set(key, Value::array({std::move(binding)}));
        }
    }
    document.set("ExposedPorts", std::move(exposed));
    host.set("PortBindings", std::move(bindings));
}

Value host_document(const Config& config, const InstanceSpec& spec) {
    Value host = Value::object({
        {"Init", true},
        {"Privileged", false},
        {"SecurityOpt", Value::array({"no-new-privileges"})},
        {"RestartPolicy", Value::object({{"Name", "no"}})},
        {"LogConfig",
         Value::object({{"Type", "json-file"},
                        {"Config", Value::object({{"max-size", fmt::format("{}m", config.log_max_mb)},
                                                  {"max-file", std::to_string(config.log_files)}})}})},
    });
    if (config.pids_limit > 0) host.set("PidsLimit", config.pids_limit);
    set_limits(host, spec.cpus, spec.memory_mb);
    return host;
}

Status status_of(std::string_view state) {
    if (state == "running" || state == "restarting") return Status::running;
    if (state == "paused") return Status::paused;
    if (state == "created" || state == "exited" || state == "removing" || state == "stopped" ||
        state == "configured" || state == "stopping") {
        // The last three are Podman's own words; `stopping` ends within its stop timeout.
        return state == "stopping" ? Status::running : Status::stopped;
    }
    if (state == "dead") return Status::error;
    return Status::unknown;
}

void set_state_reason(InstanceFacts& facts, std::string_view state) {
    if (facts.status == Status::error) {
        facts.reason = "the engine could not remove the container completely; destroy it again";
    } else if (facts.status == Status::unknown) {
        facts.reason = fmt::format("the engine reports the state '{}', which is not known here", state);
    }
}

std::optional<std::string> first_address(const Value& settings) {
    if (auto address = settings["IPAddress"].string_or(""); !address.empty()) return address;
    if (const auto* networks = settings["Networks"].if_object()) {
        for (const auto& [name, network] : *networks) {
            if (auto address = network["IPAddress"].string_or(""); !address.empty()) return address;
        }
    }
    return std::nullopt;
}

int port_number(std::string_view text) {
    int number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

std::map<std::string, int> inspected_ports(const Value& settings) {
    std::map<std::string, int> ports;
    const auto* table = settings["Ports"].if_object();
    if (table == nullptr) return ports;
    for (const auto& [key, bindings] : *table) {
        const auto* array = bindings.if_array();
        if (array == nullptr || array->empty()) continue;
        const int number = port_number(array->front()["HostPort"].string_or(""));
        if (number > 0) ports.emplace(key, number);
    }
    return ports;
}

}  // namespace

Value container_document(const Config& config, const Instance& instance,
                         const std::map<std::string, std::string>& labels) {
    const InstanceSpec& spec = instance.spec;
    Value label_object = Value::object();
    for (const auto& [key, value] : labels) label_object.set(key, value);
    Value document = Value::object({{"Image", spec.image},
                                    {"Env", environment_array(spec.environment)},
                                    {"Labels", std::move(label_object)},
                                    {"StopTimeout", 10},
                                    {"Tty", false},
                                    {"OpenStdin", false}});
    if (!spec.command.empty()) document.set("Cmd", string_array(spec.command));
    Value host = host_document(config, spec);
    set_ports(document, host, spec.ports);
    document.set("HostConfig", std::move(host));
    return document;
}

void take_configuration(Value& body, const Value& config, const InstanceSpec& spec) {
    for (const auto* member :
         {"Entrypoint", "Cmd", "WorkingDir", "User", "Volumes", "Healthcheck", "StopSignal", "Shell"}) {
        if (const Value* found = config.find(member); found != nullptr && !found->is_null())
            body.set(member, *found);
    }
    const auto merge = [&](const char* member) {
        const auto* theirs = config[member].if_object();
        if (theirs == nullptr) return;
        Value merged = body[member].is_null() ? Value::object() : body[member];
        for (const auto& [key, value] : *theirs) {
            if (merged.find(key) == nullptr) merged.set(key, value);
        }
        body.set(member, std::move(merged));
    };
    merge("Labels");
    merge("ExposedPorts");
    Value environment = environment_array(spec.environment);
    // Podman lists what it sets itself.
    const std::string host_name = "HOSTNAME=" + config["Hostname"].string_or("");
    if (const auto* theirs = config["Env"].if_array()) {
        for (const auto& each : *theirs) {
            const std::string text = each.string_or("");
            if (text != host_name && !spec.environment.contains(text.substr(0, text.find('='))))
                environment.push(text);
        }
    }
    body.set("Env", std::move(environment));
}

Value update_document(const ResizeSpec& spec) {
    Value document = Value::object();
    set_limits(document, spec.cpus, spec.memory_mb);
    return document;
}

Value exec_document(const ExecSpec& spec, bool with_input) {
    std::vector<std::string> argv{spec.command};
    argv.insert(argv.end(), spec.args.begin(), spec.args.end());
    Value document = Value::object({{"AttachStdin", with_input},
                                    {"AttachStdout", true},
                                    {"AttachStderr", true},
                                    {"Tty", spec.tty},
                                    {"Cmd", string_array(argv)}});
    if (!spec.env.empty()) document.set("Env", environment_array(spec.env));
    if (spec.cwd) document.set("WorkingDir", *spec.cwd);
    if (spec.user) document.set("User", *spec.user);
    return document;
}

InstanceFacts facts_from_inspect(const Value& document) {
    const Value& state = document["State"];
    InstanceFacts facts;
    const std::string word = state["Status"].string_or("");
    facts.status = status_of(word);
    set_state_reason(facts, word);
    if (const auto id = document["Id"].string_or(""); !id.empty()) facts.handle = id;
    if (facts.status == Status::running || facts.status == Status::paused) {
        facts.ip = first_address(document["NetworkSettings"]);
        facts.ports = inspected_ports(document["NetworkSettings"]);
        if (const auto pid = state["Pid"].int_or(0); pid > 0) facts.pid = pid;
        const auto health = state["Health"]["Status"].string_or("");
        if (health != "none" && !health.empty()) facts.health = health;
    } else if (parse_time(state["FinishedAt"].string_or(""))) {
        facts.exit_code = static_cast<int>(state["ExitCode"].int_or(0));
        if (state["OOMKilled"].bool_or(false)) facts.reason = "it was killed because its memory ran out";
    }
    if (const auto error = state["Error"].string_or(""); !error.empty() && !facts.reason) {
        facts.reason = "the engine says: " + error;
    }
    return facts;
}

std::optional<int> exit_code_in(std::string_view text) {
    if (!text.starts_with("Exited (")) return std::nullopt;
    text.remove_prefix(8);
    int code = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
    if (error != std::errc() || end == text.data() + text.size() || *end != ')') return std::nullopt;
    return code;
}

std::optional<std::string> health_in(std::string_view text) {
    if (text.ends_with("(healthy)")) return "healthy";
    if (text.ends_with("(unhealthy)")) return "unhealthy";
    if (text.ends_with("(health: starting)") || text.ends_with("(starting)")) return "starting";
    return std::nullopt;
}

InstanceFacts facts_from_list(const Value& element) {
    InstanceFacts facts;
    const std::string word = element["State"].string_or("");
    const std::string text = element["Status"].string_or("");
    facts.status = status_of(word);
    set_state_reason(facts, word);
    if (const auto id = element["Id"].string_or(""); !id.empty()) facts.handle = id;
    if (facts.status != Status::running && facts.status != Status::paused) {
        facts.exit_code = exit_code_in(text);
        return facts;
    }
    facts.ip = first_address(element["NetworkSettings"]);
    facts.health = health_in(text);
    if (const auto* ports = element["Ports"].if_array()) {
        for (const auto& port : *ports) {
            const auto published = port["PublicPort"].int_or(0);
            if (published <= 0) continue;
            const std::string key =
                fmt::format("{}/{}", port["PrivatePort"].int_or(0), port["Type"].string_or("tcp"));
            facts.ports.emplace(key, static_cast<int>(published));
        }
    }
    return facts;
}

std::optional<std::chrono::nanoseconds> parse_time(std::string_view text) {
    std::tm parts{};
    const std::string copy(text.substr(0, 64));
    const char* rest = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == nullptr || parts.tm_year < 70) return std::nullopt;
    std::int64_t nanos = 0;
    if (*rest == '.') {
        std::int64_t unit = 100'000'000;
        for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) nanos += (*rest - '0') * unit;
    }
    std::int64_t offset = 0;
    if (*rest == '+' || *rest == '-') {
        int hours = 0;
        int minutes = 0;
        if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return std::nullopt;
        offset = (hours * 60 + minutes) * 60 * (*rest == '-' ? -1 : 1);
    }
    const std::int64_t seconds = std::int64_t{timegm(&parts)} - offset;
    return std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos);
}

std::optional<ContainerEvent> container_event(const Value& message) {
    const std::string type = message["Type"].string_or("container");
    ContainerEvent event;
    event.action = message["Action"].string_or(message["status"].string_or(""));
    event.container = message["Actor"]["ID"].string_or(message["id"].string_or(""));
    event.instance = message["Actor"]["Attributes"][label::instance].string_or("");
    if (type != "container" || event.action.empty() || event.container.empty()) return std::nullopt;
    return event;
}

std::optional<ImageReference> pullable(std::string_view image) {
    const auto is_hex = [](std::string_view text) {
        return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
    };
    if (image.starts_with("sha256:") || (image.size() == 64 && is_hex(image)) || image.empty()) {
        return std::nullopt;
    }
    if (const auto at = image.find('@'); at != std::string_view::npos) {
        return ImageReference{std::string(image.substr(0, at)), std::string(image.substr(at + 1))};
    }
    const auto colon = image.rfind(':');
    const auto slash = image.rfind('/');
    // A colon before the last slash belongs to a registry's port.
    if (colon == std::string_view::npos || (slash != std::string_view::npos && colon < slash)) {
        return ImageReference{std::string(image), "latest"};
    }
    return ImageReference{std::string(image.substr(0, colon)), std::string(image.substr(colon + 1))};
}

std::optional<int> api_version_number(std::string_view text) {
    int major = 0;
    int minor = 0;
    const char* end = text.data() + text.size();
    auto [dot, error] = std::from_chars(text.data(), end, major);
    if (error != std::errc() || dot == end || *dot != '.') return std::nullopt;
    if (std::from_chars(dot + 1, end, minor).ec != std::errc()) return std::nullopt;
    return major * 1000 + minor;
}

}  // namespace minions::docker
