#include "plugins/docker/labels.hpp"

#include <fmt/format.h>

namespace minions::docker::label {

std::map<std::string, std::string> for_container(const std::string& installation_id, const Instance& of) {
    std::map<std::string, std::string> labels;
    for (const auto& [key, value] : of.spec.labels) {
        if (key.starts_with(prefix)) {
            throw Error(Code::invalid,
                        fmt::format("field 'labels': the label '{}' begins with '{}', which is reserved", key,
                                    prefix),
                        "choose another name for the label");
        }
        labels.emplace(key, value);
    }
    labels.insert_or_assign(std::string(installation), installation_id);
    labels.insert_or_assign(std::string(instance), of.id);
    labels.insert_or_assign(std::string(name), of.name);
    labels.insert_or_assign(std::string(owner), of.owner);
    return labels;
}

std::map<std::string, std::string> for_image(const std::string& installation_id, const BuildSpec& spec) {
    auto labels = spec.labels;
    labels.insert_or_assign(std::string(installation), installation_id);
    return labels;
}

bool is_ours(const Value& labels, std::string_view installation_id) {
    const Value* found = labels.find(installation);
    const std::string* text = found == nullptr ? nullptr : found->if_string();
    return text != nullptr && *text == installation_id;
}

std::string filter(std::string_view installation_id, std::string_view instance_id) {
    Value wanted = Value::array({fmt::format("{}={}", installation, installation_id)});
    if (!instance_id.empty()) wanted.push(fmt::format("{}={}", instance, instance_id));
    return to_json(Value::object({{"label", wanted}}));
}

}  // namespace minions::docker::label
