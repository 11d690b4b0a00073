# Made by `heliograph plan generate lookml` from version 3 of the plan everything, digest 4fd6948e9acf7b40146eb121c48cb6c9eba420b56abf9a12eed902a120a663c2. Do not edit.

view: events {
  sql_table_name: heliograph.events ;;

  dimension: event_id {
    primary_key: yes
    hidden: yes
    type: string
    description: "Instance, epoch and sequence: no two events have the same."
    sql: CONCAT(${TABLE}.instance, ' ', CAST(${TABLE}.epoch AS VARCHAR), ' ', CAST(${TABLE}.sequence AS VARCHAR)) ;;
  }

  dimension_group: time {
    type: time
    timeframes: [raw, time, hour_of_day, date, day_of_week, week, month, quarter, year]
    datatype: datetime
    label: "When"
    description: "When it happened, in UTC."
    sql: ${TABLE}.time ;;
  }

  dimension_group: received {
    type: time
    timeframes: [raw, time, hour_of_day, date, day_of_week, week, month, quarter, year]
    datatype: datetime
    label: "Received"
    description: "When the vendor stored it, in UTC."
    sql: ${TABLE}.received ;;
  }

  dimension: name {
    type: string
    label: "Event"
    description: "Which of the plan's events it is."
    suggestions: ["SearchSubmitted", "SearchSubmittedTwice", "delete", "int"]
    sql: ${TABLE}.name ;;
  }

  dimension: outcome {
    type: string
    label: "Outcome"
    description: "How it ended."
    sql: ${TABLE}.outcome ;;
  }

  dimension: user_id {
    type: string
    label: "User"
    description: "A random id of the user; whom it stands for is known on the instance alone."
    sql: ${TABLE}.user_id ;;
  }

  dimension: instance {
    type: string
    label: "Instance"
    description: "The instance on which it happened."
    sql: ${TABLE}.instance ;;
  }

  dimension: account {
    type: string
    label: "Account"
    description: "The customer to whom the instance belongs."
    sql: ${TABLE}.account ;;
  }

  dimension: version {
    type: string
    label: "Version"
    description: "The product's version."
    sql: ${TABLE}.version ;;
  }

  dimension: source {
    type: string
    label: "Source"
    description: "Where it came from."
    suggestions: ["web", "backend"]
    sql: ${TABLE}.source ;;
  }

  dimension: actor {
    type: string
    label: "Actor"
    description: "Who acted, where it was none of the customer's own people."
    sql: ${TABLE}.actor ;;
  }

  dimension: agreement {
    type: string
    label: "Agreement"
    description: "The agreement that allowed it."
    sql: ${TABLE}.agreement ;;
  }

  dimension: plan {
    type: string
    label: "Plan"
    description: "The plan by which it was checked."
    sql: ${TABLE}.plan ;;
  }

  dimension: counted {
    type: yesno
    label: "Counted"
    description: "Whether one of the customer's own people acted: no operator, and no service account."
    sql: ${TABLE}.actor IS NULL ;;
  }

  dimension: pattern_type {
    type: string
    label: "Pattern type"
    group_label: "search"
    description: "How the text of the query was understood. One of literal, regexp, structural. In SearchSubmitted."
    suggestions: ["literal", "regexp", "structural"]
    sql: ${TABLE}.pattern_type ;;
  }

  dimension: language {
    type: string
    label: "Language"
    group_label: "several features"
    description: "SearchSubmitted: The language that the search was limited to. One of c, c++, c-sharp, go, haskell, java, javascript, kotlin, python, ruby, rust, scala, swift, typescript. int: The language of the page. One of en, fr."
    suggestions: ["c", "c++", "c-sharp", "go", "haskell", "java", "javascript", "kotlin", "python", "ruby", "rust", "scala", "swift", "typescript", "en", "fr"]
    sql: ${TABLE}.language ;;
  }

  dimension: result_count {
    type: number
    label: "Result count"
    group_label: "search"
    description: "Results found. Whole number, -10 to 100,000, to the nearest 10. In SearchSubmitted."
    value_format: "#,##0"
    sql: ${TABLE}.result_count ;;
  }

  dimension: share {
    type: number
    label: "Share"
    group_label: "search"
    description: "Share of the repositories that was searched. Number, 0.0 to 1.0, to the nearest 0.01. In SearchSubmitted."
    value_format: "#,##0.00"
    sql: ${TABLE}.share ;;
  }

  dimension: ratio {
    type: number
    label: "Ratio"
    group_label: "search"
    description: "Time spent waiting for each second of work. Number, -0.5 to 1,000.0. In SearchSubmitted."
    value_format: "#,##0.00"
    sql: ${TABLE}.ratio ;;
  }

  dimension: duration_ms {
    type: number
    label: "Duration ms"
    group_label: "search"
    description: "From submission to the last result. Milliseconds, 0 to 600,000, to the nearest 10. In SearchSubmitted."
    value_format: "#,##0\" ms\""
    sql: ${TABLE}.duration_ms ;;
  }

  dimension: filter_count {
    type: number
    label: "Filter count"
    group_label: "search"
    description: "Filters in the query; never which. Count, in buckets from 0, 1, 2, 5, 10, 100. In SearchSubmitted."
    value_format: "#,##0"
    sql: ${TABLE}.filter_count ;;
  }

  dimension: case_sensitive {
    type: yesno
    label: "Case sensitive"
    group_label: "search"
    description: "Whether upper and lower case were told apart. True or false. In SearchSubmitted."
    sql: ${TABLE}.case_sensitive ;;
  }

  dimension: class {
    type: string
    label: "Class"
    group_label: "search"
    description: "A keyword of many languages. One of import, default. In SearchSubmittedTwice."
    suggestions: ["import", "default"]
    sql: ${TABLE}.class ;;
  }

  dimension: lambda {
    type: number
    label: "Lambda"
    group_label: "search"
    description: "Another, and a count. Whole number, 0 to 10. In SearchSubmittedTwice."
    value_format: "#,##0"
    sql: ${TABLE}.lambda ;;
  }

  dimension: str {
    type: yesno
    label: "Str"
    group_label: "search"
    description: "A name that Python knows. True or false. In SearchSubmittedTwice."
    sql: ${TABLE}.str ;;
  }

  dimension: constructor {
    type: yesno
    label: "Constructor"
    group_label: "search"
    description: "A name that JavaScript knows. True or false. In SearchSubmittedTwice."
    sql: ${TABLE}.constructor ;;
  }

  measure: events {
    type: count
    label: "Events"
    description: "Events; operators and service accounts are left out."
    filters: [counted: "yes"]
  }

  measure: users {
    type: count_distinct
    label: "Users"
    description: "Users; operators and service accounts are left out."
    filters: [counted: "yes"]
    sql: ${TABLE}.user_id ;;
  }

  measure: search_submitted_count {
    type: count
    label: "SearchSubmitted"
    group_label: "search"
    description: "A user submitted a search, and the search ended. What was typed stays with the user."
    filters: [counted: "yes", name: "SearchSubmitted,SearchStarted"]
  }

  measure: search_submitted_twice_count {
    type: count
    label: "SearchSubmittedTwice"
    group_label: "search"
    description: "\"\"\"Submitted\"\"\" twice: */ ends a comment in C:\\new, --> and ]]> in XML, </script> in HTML, ;; in LookML, { { liquid }} and @ {constant}; `ticks`, *stars*, _lines_, <b>tags</b> and | bars. Deprecated since 2026-11-01. \"SearchSubmitted\" says as much. Use SearchSubmitted."
    filters: [counted: "yes", name: "SearchSubmittedTwice"]
  }

  measure: delete_count {
    type: count
    label: "delete"
    group_label: "pages"
    description: "A user deleted a page."
    filters: [counted: "yes", name: "delete"]
  }

  measure: int_count {
    type: count
    label: "int"
    group_label: "pages"
    description: "A user looked at a page, and the event has a name that Python knows."
    filters: [counted: "yes", name: "int"]
  }
}
