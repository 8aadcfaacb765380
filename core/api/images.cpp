#include "core/api/images.hpp"

#include "core/api/helpers.hpp"
#include "core/images/image_store.hpp"

#include <fmt/format.h>

#include <array>
#include <vector>

namespace minions::core::api::images {
namespace {

struct BuildBody {
    std::string name;
    ImageBuildSpec spec;

    template <class Self, class Visit>
    static void fields(Self& self, Visit&& visit) {
        visit("name", self.name,
              Field{.required = true, .max_size = 63, .doc = "unique; lower case, digits, hyphens"});
        ImageBuildSpec::fields(self.spec, visit);
    }
};

ImageStore& images_of(const Services& services) {
    if (services.images == nullptr) throw Error{Code::unavailable, "this daemon keeps no images"};
    return *services.images;
}

std::string query_text(const http::Request& request, std::string_view name) {
    const std::string* text = request.query(name);
    return text == nullptr ? "" : *text;
}

}  // namespace

http::Reply list(Services& services, http::Request&) { return http::json(200, images_of(services).list()); }

http::Reply get(Services& services, http::Request& request) {
    return http::json(200, images_of(services).get(request.param("name")));
}

http::Reply build(Services& services, http::Request& request) {
    auto body = body_of<BuildBody>(request);
    return answer(request,
                  images_of(services).build(body.name, std::move(body.spec), idempotency_of(request)), 201);
}

http::Reply import(Services& services, http::Request& request) {
    ImageStore& images = images_of(services);
    const std::string name = query_text(request, "name");
    images.check_new(name);  // before gigabytes come
    auto upload = images.upload();
    std::vector<char> buffer(std::size_t{256} << 10U);
    for (std::size_t got = 0; (got = request.reader->read(buffer.data(), buffer.size())) > 0;)
        upload->write({buffer.data(), got});
    ImportSpec spec{query_text(request, "format"), query_text(request, "kernel_from"),
                    query_text(request, "command_line")};
    return answer(request, images.import(name, std::move(upload), std::move(spec), idempotency_of(request)),
                  201);
}

http::Reply remove(Services& services, http::Request& request) {
    return answer(request, images_of(services).remove(request.param("name"), idempotency_of(request)), 200);
}

Value build_schema() { return schema_of<BuildBody>(); }

Value object_schema() {
    const auto type = [](const char* name) { return Value::object({{"type", name}}); };
    const Value names = Value::object({{"type", "array"}, {"items", type("string")}});
    return Value::object({{"type", "object"},
                          {"properties", Value::object({{"name", type("string")},
                                                        {"id", type("string")},
                                                        {"size_bytes", type("integer")},
                                                        {"disk_bytes", type("integer")},
                                                        {"created_at", type("string")},
                                                        {"recipe", type("string")},
                                                        {"used_by", names},
                                                        {"manifest", type("object")}})}});
}

Value objects_schema() { return Value::object({{"type", "array"}, {"items", object_schema()}}); }

}  // namespace minions::core::api::images
