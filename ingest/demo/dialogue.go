package demo

import (
	"fmt"
	"math/rand/v2"
	"os"
)

type utterance struct {
	ai   bool
	text string
}

// A topic is the subject of a call. Its sentences have slots, which are filled for each call.
type topic struct {
	name           string
	opening        []string // by the caller
	questions      []string // by the assistant
	answers        []string // by the caller
	confirmations  []string // by the assistant
	goodbye, thank string
}

// inventDialogue returns a dialogue of 10 to 18 utterances. It begins with the caller.
func inventDialogue(r *rand.Rand, t topic) []utterance {
	say := func(from []string) string { return fillSlots(r, pick(r, from)) }
	lines := []utterance{{false, say(t.opening)}}
	for range 3 + r.IntN(5) {
		lines = append(lines, utterance{true, say(t.questions)}, utterance{false, say(t.answers)})
	}
	return append(lines, utterance{true, say(t.confirmations)}, utterance{false, t.thank}, utterance{true, t.goodbye})
}

// fillSlots replaces the slots of a sentence by random values. It panics if a slot is unknown.
func fillSlots(r *rand.Rand, sentence string) string {
	return os.Expand(sentence, func(slot string) string {
		switch slot {
		case "name":
			return pick(r, givenNames) + " " + pick(r, familyNames)
		case "day":
			return pick(r, []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"})
		case "time":
			return fmt.Sprintf("%d:%02d", 8+r.IntN(12), 5*r.IntN(12))
		case "count":
			return fmt.Sprint(1 + r.IntN(9))
		case "number":
			return fmt.Sprint(10000 + r.IntN(90000))
		case "amount":
			return fmt.Sprintf("%d.%02d", 5+r.IntN(900), r.IntN(100))
		case "street":
			return fmt.Sprint(1+r.IntN(240), " ",
				pick(r, []string{"Station Road", "Garden Street", "Lake View", "Hill Lane", "Market Square"}))
		}
		panic("demo: no slot " + slot)
	})
}

var givenNames = []string{"Asha", "Ravi", "Meera", "Kabir", "Lena", "Jonas", "Aoife", "Zoë", "Mateo", "Yuki",
	"आरव", "Søren", "Amira", "Tomás", "Ines"}

var familyNames = []string{"Rao", "Nair", "Iyer", "Khan", "Berger", "Weiß", "O'Neil", "García", "Tanaka", "Larsen",
	"Haddad", "Costa", "शर्मा", "Novák"}

var topics = []topic{
	{
		name: "appointment",
		opening: []string{"Hello, I would like to see the doctor on ${day}, please.",
			"Hi, this is ${name}. I need an " +
				"appointment at about ${time}.", "Good morning, can I move my visit from ${day} to ${day}?"},
		questions: []string{"Which day would suit you, ${day} or ${day}?", "I have ${time} or ${time} free. Which one " +
			"do you prefer?", "May I have the name the appointment is for?", "Have you been with us before, and what is your " +
			"file number?"},
		answers: []string{"${day} at ${time} would be perfect.", "The name is ${name}.", "Rather ${time}, I work " +
			"until ${time}.", "My file number is ${number}.", "Yes, I came about ${count} months ago."},
		confirmations: []string{"You are booked for ${day} at ${time}, ${name}.",
			"I have moved the visit to ${day}, ${time}."},
		thank: "Thank you very much.", goodbye: "You are welcome. See you then!",
	},
	{
		name: "order",
		opening: []string{"Where is my order ${number}?", "Hello, the parcel ${number} was due on ${day}.",
			"I would like to send back ${count} items of order ${number}."},
		questions: []string{"Could you tell me the order number again?", "Is the address still ${street}?",
			"Would ${day} between ${time} and ${time} work for the delivery?", "Was the amount ${amount} charged to your card?"},
		answers: []string{"It is ${number}.", "No, I have moved to ${street}.", "${day} is fine.",
			"Yes, ${amount} exactly.", "There should be ${count} pieces in it."},
		confirmations: []string{"Order ${number} will arrive on ${day}.", "I have refunded ${amount} for order ${number}."},
		thank:         "Great, that helps.", goodbye: "Glad to hear it. Have a nice day.",
	},
	{
		name: "table",
		opening: []string{"मुझे ${day} को ${count} लोगों के लिए टेबल " +
			"चाहिए।", "Can I book a table for ${count} on ${day}?", "Ich möchte am ${day} um ${time} einen Tisch " +
			"für ${count} Personen reservieren."},
		questions: []string{"For which time, ${time} or ${time}?", "Inside, or on the terrace towards ${street}?",
			"Under which name may I book it?", "Are there children among the ${count} guests?"},
		answers: []string{"At ${time}, please.", "On the terrace, if it does not rain 🌧.", "${name}, and the " +
			"number ends in ${number}.", "We are ${count}, one of us in a wheelchair."},
		confirmations: []string{"A table for ${count} on ${day} at ${time}, in the name of ${name}.",
			"Done: ${day}, ${time}, ${count} people."},
		thank: "धन्यवाद!", goodbye: "We look forward to your visit.",
	},
	{
		name: "account",
		opening: []string{"I cannot see the payment of ${amount} in my account.", "Hola, quiero cambiar mi dirección " +
			"a ${street}.", "Please tell me the balance of account ${number}."},
		questions: []string{"For security, what are the last digits of your card?", "On which day was it paid, ${day}?",
			"Shall I send the statement to ${street}?", "Is ${name} the holder of the account?"},
		answers: []string{"${number}.", "It was on ${day} at ${time}.", "Yes, that is me, ${name}.",
			"The amount was ${amount}.", "No, send it by mail, there are ${count} of them."},
		confirmations: []string{"The balance is ${amount} as of ${day}.", "The payment of ${amount} arrived on ${day}."},
		thank:         "That was all, thanks.", goodbye: "Thank you for calling. Goodbye.",
	},
}
