#include "engine/rpc/validation.h"

namespace headgate::engine {

namespace {

using enum FieldRule;

constexpr FieldRuleRow kRows[] = {
    {"Entity", "type", kName},
    {"Entity", "id", kTenantOrId},
    {"Subject", "type", kName},
    {"Subject", "id", kTenantOrId},
    {"Subject", "relation", kNameOrEmpty},
    {"Tuple", "entity", kRequired},
    {"Tuple", "relation", kName},
    {"Tuple", "subject", kRequired},
    {"Attribute", "entity", kRequired},
    {"TupleFilter", "relation", kNameOrEmpty},
    {"SubjectFilter", "relation", kNameOrEmpty},
    {"RelationReference", "type", kName},
    {"RelationReference", "relation", kNameOrEmpty},
    {"ComputedAttribute", "name", kName},

    {"PermissionCheckRequest", "tenant_id", kTenantOrId},
    {"PermissionCheckRequest", "metadata", kRequired},
    {"PermissionCheckRequest", "entity", kRequired},
    {"PermissionCheckRequest", "permission", kName},
    {"PermissionCheckRequest", "subject", kRequired},
    {"PermissionCheckRequestMetadata", "depth", kDepth},
    {"PermissionBulkCheckRequestItem", "entity", kRequired},
    {"PermissionBulkCheckRequestItem", "permission", kName},
    {"PermissionBulkCheckRequestItem", "subject", kRequired},
    {"PermissionBulkCheckRequest", "tenant_id", kTenantOrId},
    {"PermissionBulkCheckRequest", "metadata", kRequired},
    {"PermissionBulkCheckRequest", "items", kOneToHundred},
    {"PermissionExpandRequest", "tenant_id", kTenantOrId},
    {"PermissionExpandRequest", "metadata", kRequired},
    {"PermissionExpandRequest", "entity", kRequired},
    {"PermissionExpandRequest", "permission", kNameOrEmpty},
    {"PermissionLookupEntityRequest", "tenant_id", kTenantOrId},
    {"PermissionLookupEntityRequest", "metadata", kRequired},
    {"PermissionLookupEntityRequest", "entity_type", kName},
    {"PermissionLookupEntityRequest", "permission", kName},
    {"PermissionLookupEntityRequest", "subject", kRequired},
    {"PermissionLookupEntityRequestMetadata", "depth", kDepth},
    {"PermissionLookupSubjectRequest", "tenant_id", kTenantOrId},
    {"PermissionLookupSubjectRequest", "metadata", kRequired},
    {"PermissionLookupSubjectRequest", "entity", kRequired},
    {"PermissionLookupSubjectRequest", "permission", kName},
    {"PermissionLookupSubjectRequest", "subject_reference", kRequired},
    {"PermissionLookupSubjectRequestMetadata", "depth", kDepth},
    {"PermissionSubjectPermissionRequest", "tenant_id", kTenantOrId},
    {"PermissionSubjectPermissionRequest", "metadata", kRequired},
    {"PermissionSubjectPermissionRequest", "entity", kRequired},
    {"PermissionSubjectPermissionRequest", "subject", kRequired},
    {"PermissionSubjectPermissionRequestMetadata", "depth", kDepth},

    {"WatchRequest", "tenant_id", kTenantOrId},

    {"SchemaWriteRequest", "tenant_id", kTenantOrId},
    {"SchemaPartialWriteRequest", "tenant_id", kTenantOrId},
    {"SchemaPartialWriteRequest", "metadata", kRequired},
    {"SchemaReadRequest", "tenant_id", kTenantOrId},
    {"SchemaReadRequest", "metadata", kRequired},
    {"SchemaListRequest", "tenant_id", kTenantOrId},

    {"DataWriteRequest", "tenant_id", kTenantOrId},
    {"DataWriteRequest", "metadata", kRequired},
    {"RelationshipWriteRequest", "tenant_id", kTenantOrId},
    {"RelationshipWriteRequest", "metadata", kRequired},
    {"RelationshipWriteRequest", "tuples", kAtLeastOne},
    {"RelationshipReadRequest", "tenant_id", kTenantOrId},
    {"RelationshipReadRequest", "metadata", kRequired},
    {"RelationshipReadRequest", "filter", kRequired},
    {"AttributeReadRequest", "tenant_id", kTenantOrId},
    {"AttributeReadRequest", "metadata", kRequired},
    {"AttributeReadRequest", "filter", kRequired},
    {"DataDeleteRequest", "tenant_id", kTenantOrId},
    {"DataDeleteRequest", "tuple_filter", kRequired},
    {"DataDeleteRequest", "attribute_filter", kRequired},
    {"RelationshipDeleteRequest", "tenant_id", kTenantOrId},

    {"BundleRunRequest", "tenant_id", kTenantOrId},
    {"BundleWriteRequest", "tenant_id", kTenantOrId},
    {"BundleReadRequest", "tenant_id", kTenantOrId},
    {"BundleDeleteRequest", "tenant_id", kTenantOrId},

    {"headgate.v1.ReadSnapshotRequest", "tenant_id", kTenantOrId},

    {"TenantCreateRequest", "id", kNewTenantId},
    {"TenantCreateRequest", "name", kNewTenantName},
};

}  // namespace

std::span<const FieldRuleRow> field_rules() { return kRows; }

}  // namespace headgate::engine
