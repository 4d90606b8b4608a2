package warehouse

import (
	"github.com/google/uuid"
)

// A Finding is one deviation of the data folder from its required state.
type Finding struct {
	Kind    FindingKind   `json:"kind"`
	Tenant  uuid.NullUUID `json:"tenant_id"`
	File    string        `json:"file"` // path in the data folder
	Detail  string        `json:"detail"`
	Effect  string        `json:"effect"`  // for users
	Command string        `json:"command"` // for the operator
	// Information marks a finding that needs no repair.
	Information bool `json:"information,omitempty"`

	partition partition // to publish again; its dataset is empty for other findings
}

// FindingKind names the kind of a finding.
type FindingKind string

// Kinds of findings, from the root of the data folder to the rows of a tenant.
const (
	FoundLink             FindingKind = "link"
	FoundStray            FindingKind = "stray"
	FoundMode             FindingKind = "mode"
	FoundOwner            FindingKind = "owner"
	FoundMissingFolder    FindingKind = "folder_missing"
	FoundMark             FindingKind = "mark_damaged"
	FoundSigningKey       FindingKind = "signing_key"
	FoundJournal          FindingKind = "journal_damaged"
	FoundControl          FindingKind = "control_damaged"
	FoundControlWAL       FindingKind = "control_wal_damaged"
	FoundKeysDiffer       FindingKind = "keys_differ"
	FoundInterrupted      FindingKind = "checkpoint_interrupted"
	FoundUnregistered     FindingKind = "tenant_unregistered"
	FoundStoreMissing     FindingKind = "store_missing"
	FoundStoreDamaged     FindingKind = "store_damaged"
	FoundStoreForeign     FindingKind = "store_foreign"
	FoundStoreBehind      FindingKind = "store_behind"
	FoundStoreUnavailable FindingKind = "store_unavailable"
	FoundStoreNewer       FindingKind = "store_newer"
	FoundWAL              FindingKind = "wal_damaged"
	FoundDuplicates       FindingKind = "duplicate_rows"
	FoundDeletedRows      FindingKind = "deleted_rows"
	FoundSequence         FindingKind = "feed_sequence"
	FoundPublishedMissing FindingKind = "published_missing"
	FoundPublishedDamaged FindingKind = "published_damaged"
	FoundDifference       FindingKind = "partition_differs"
	FoundQuarantine       FindingKind = "quarantine_damaged"
	FoundQuarantineEdited FindingKind = "quarantine_edited"
	FoundUnfinished       FindingKind = "erasure_unfinished"
	FoundKept             FindingKind = "kept_files"
)

// A findingRule describes the effect of a kind of finding and the command for the operator. {tenant} in the command
// stands for an option that restricts the command to the tenant, or for nothing.
type findingRule struct {
	effect, command string
	information     bool // nothing is wrong, and nothing has to be done
}

const repairCommand = "voicory repair{tenant}"

// findingRules lists every kind of finding.
var findingRules = map[FindingKind]findingRule{
	FoundLink: {effect: "voicory refuses the path", command: repairCommand},
	FoundStray: {
		effect:  "programs that read the folder may read it as data",
		command: repairCommand,
	},
	FoundMode: {
		effect:  "other users of the machine can read it, or voicory cannot",
		command: repairCommand,
	},
	FoundOwner:         {effect: "voicory may be unable to write it", command: "chown -R {owner} {data}"},
	FoundMissingFolder: {effect: "writes below it fail", command: repairCommand},
	FoundMark:          {effect: "voicory does not start", command: repairCommand},
	FoundSigningKey: {
		effect:  "voicory does not start, or cursors and signed URLs become invalid",
		command: repairCommand,
	},
	FoundJournal: {
		effect:  "the facts of these lines, such as revocations and erasures, are only in the control database",
		command: repairCommand,
	},
	FoundControl:    {effect: "voicory does not start, or keys fail", command: repairCommand},
	FoundControlWAL: {effect: "voicory does not start", command: repairCommand},
	FoundKeysDiffer: {effect: "the next start makes them agree, and a revocation in either of them holds",
		command: "voicory repair", information: true},
	FoundInterrupted: {
		effect:  "none: no row is lost, and the next start completes the blocks; until then the rows are not verified",
		command: repairCommand, information: true,
	},
	FoundUnregistered: {effect: "the tenant is missing in lists", command: repairCommand},
	FoundStoreMissing: {effect: "every request of the tenant fails", command: repairCommand},
	FoundStoreDamaged: {
		effect:  "requests of the tenant that read the damaged part fail",
		command: repairCommand,
	},
	FoundStoreUnavailable: {
		effect:  "every request of the tenant fails",
		command: "remove the cause, and verify again",
	},
	FoundStoreForeign: {effect: "every request of the tenant fails", command: repairCommand},
	FoundStoreBehind:  {effect: "every request of the tenant fails", command: repairCommand},
	FoundStoreNewer:   {effect: "every request of the tenant fails", command: "upgrade voicory"},
	FoundWAL:          {effect: "every request of the tenant fails", command: repairCommand},
	FoundDuplicates:   {effect: "pages and files show a row twice", command: repairCommand},
	FoundDeletedRows:  {effect: "the change feed shows a row and its deletion", command: repairCommand},
	FoundSequence:     {effect: "followers of the change feed miss rows", command: repairCommand},
	FoundPublishedMissing: {
		effect:  "downloads and SQL of the partition fail; readers of lake/ miss its rows",
		command: repairCommand,
	},
	FoundPublishedDamaged: {
		effect:  "downloads and SQL of the partition fail; readers of lake/ get wrong rows",
		command: repairCommand,
	},
	FoundDifference: {effect: "files and SQL show other rows than pages", command: repairCommand},
	FoundQuarantine: {effect: "the damaged lines cannot be replayed", command: repairCommand},
	FoundQuarantineEdited: {
		effect:      "none, if the file was edited",
		command:     "voicory quarantine list",
		information: true,
	},
	FoundUnfinished: {effect: "data that was to be erased is still in files; the server tries again every minute",
		command: repairCommand, information: true},
	FoundKept: {effect: "files that repairs and restores have replaced use disk space",
		command: "remove the folder when they are no longer needed", information: true},
}

func (f Finding) tenantText() string {
	if !f.Tenant.Valid {
		return ""
	}
	return f.Tenant.UUID.String()
}
